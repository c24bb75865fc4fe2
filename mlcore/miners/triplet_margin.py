"""Triplet margin mining: the triplets on one side of a margin."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.miners.registry import MINERS
from mlcore.tuples import Triplets, label_masks

BLOCK = 2**20  # entries looked at in one go


@MINERS.add(
    "triplet_margin",
    title="Triplet margin",
    family="triplet",
    formula=r"d_{an}-d_{ap}\le m",
    paper="Schroff et al., CVPR 2015, arXiv:1503.03832, section 3.2",
    aliases=("TripletMarginMiner (pytorch-metric-learning)", "semi-hard mining"),
)
class TripletMarginMiner:
    """Keeps the triplets whose negative is not yet farther than the positive by a margin.

    What to expect: "semihard" (right order, but inside the margin) is the calm choice of the FaceNet paper; "hard"
    keeps only wrong orders. A margin above the loss's own adds triplets that lose nothing.

    Shapes: embeddings (B, D), labels (B,). Looks at the triplets block by block; the result holds the kept ones only.
    """

    def __init__(
        self,
        *,
        margin: Annotated[
            float, Knob("The lead that a positive should have.", 0.0, 2.0, unit="distance", symbol="m")
        ] = 0.2,
        type_of_triplets: Annotated[
            str,
            Knob(
                "all: inside the margin; hard: the negative is closer; semihard: inside the margin, but in order; "
                "easy: beyond the margin.",
                choices=("all", "hard", "semihard", "easy"),
            ),
        ] = "all",
        distance: Distance | None = None,
    ) -> None:
        self.margin = margin
        self.type_of_triplets = type_of_triplets
        self.distance = distance or LpDistance()

    @torch.no_grad()
    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Triplets:
        mat = self.distance(embeddings, ref_emb)  # (B, N)
        far = -mat if self.distance.is_inverted else mat
        same, different = label_masks(labels, ref_labels, own)
        anchors, positives = same.nonzero(as_tuple=True)
        rows = max(1, BLOCK // mat.shape[1])
        pieces = []
        for a, p in zip(anchors.split(rows), positives.split(rows), strict=True):
            lead = far[a] - far[a, p][:, None]  # (R, N)
            pair, negatives = (self.wanted(lead) & different[a]).nonzero(as_tuple=True)
            pieces.append((a[pair], p[pair], negatives))
        return Triplets(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))

    def wanted(self, lead: Tensor) -> Tensor:
        """Which leads of the positive over the negative (d_an - d_ap) are asked for."""
        if self.type_of_triplets == "easy":
            return lead > self.margin
        inside = lead <= self.margin
        if self.type_of_triplets == "hard":
            return inside & (lead <= 0)
        if self.type_of_triplets == "semihard":
            return inside & (lead > 0)
        return inside
