"""Pair margin mining: the pairs on the wrong side of a fixed distance."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.miners.registry import MINERS
from mlcore.tuples import Pairs, label_masks


@MINERS.add(
    "pair_margin",
    title="Pair margin",
    family="pair",
    formula=r"d_{ap}>m_p,\qquad d_{an}<m_n",
    paper="No paper of its own; Musgrave et al., 2020, arXiv:2008.09164",
    aliases=("PairMarginMiner (pytorch-metric-learning)",),
)
class PairMarginMiner:
    """Keeps positive pairs farther apart than one distance, and negative pairs closer than another.

    What to expect: The pairs that a contrastive loss with these margins would lose on; smaller margins there than here
    leave some of the kept pairs without effect. With a similarity the sides swap (positives below pos_margin,
    negatives above neg_margin), and the usual values are the other way round: pos_margin=0.8, neg_margin=0.2.

    Shapes: embeddings (B, D), labels (B,). A batch with one kind of pair gives that kind.
    """

    def __init__(
        self,
        *,
        pos_margin: Annotated[
            float, Knob("Positive pairs farther than this are kept.", -1.0, 2.0, unit="distance", symbol="m_p")
        ] = 0.2,
        neg_margin: Annotated[
            float, Knob("Negative pairs closer than this are kept.", -1.0, 4.0, unit="distance", symbol="m_n")
        ] = 0.8,
        distance: Distance | None = None,
    ) -> None:
        self.pos_margin = pos_margin
        self.neg_margin = neg_margin
        self.distance = distance or LpDistance()

    @torch.no_grad()
    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Pairs:
        mat = self.distance(embeddings, ref_emb)  # (B, N)
        same, different = label_masks(labels, ref_labels, own)
        positive = same & (self.distance.margin(mat, mat.new_tensor(self.pos_margin)) > 0)
        negative = different & (self.distance.margin(mat.new_tensor(self.neg_margin), mat) > 0)
        return Pairs(*positive.nonzero(as_tuple=True), *negative.nonzero(as_tuple=True))
