"""Hard-aware mining: the hardest share of all pairs of a batch."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.miners.registry import MINERS
from mlcore.tuples import Pairs, all_pairs, to_pairs


@MINERS.add(
    "hdc",
    title="Hard-aware (HDC)",
    family="pair",
    formula=r"\lceil h\,|P|\rceil\ \text{largest } d_{ap},\qquad \lceil h\,|N|\rceil\ \text{smallest } d_{an}",
    paper="Yuan, Yang and Zhang, ICCV 2017, arXiv:1611.05720",
    aliases=("HDCMiner (pytorch-metric-learning)", "hard-aware deeply cascaded embedding"),
)
class HDCMiner:
    """Keeps a share of the positive pairs, the farthest, and the same share of the negative pairs, the closest.

    In a cascade each stage filters what the stage before has kept: pass that as `indices_tuple`. It is an argument of
    the call, so that nothing is left over for the next batch (pytorch-metric-learning keeps it in the miner until
    `reset_idx`).

    What to expect: Ranks the whole batch, not each anchor, so anchors in crowded places give most of the pairs. With
    wrong labels the hardest share is where they gather.

    Shapes: embeddings (B, D), labels (B,). A batch with one kind of pair gives that kind. Pairs come in no order.
    """

    def __init__(
        self,
        *,
        filter_percentage: Annotated[float, Knob("Share of the pairs that is kept.", 0.0, 1.0, symbol="h")] = 0.5,
        distance: Distance | None = None,
    ) -> None:
        self.filter_percentage = filter_percentage
        self.distance = distance or LpDistance()

    @torch.no_grad()
    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
        *,
        indices_tuple: tuple[Tensor, ...] | None = None,
    ) -> Pairs:
        pairs = all_pairs(labels, ref_labels, own) if indices_tuple is None else to_pairs(indices_tuple)
        mat = self.distance(embeddings, ref_emb)  # (B, N)
        far = -mat if self.distance.is_inverted else mat
        positive = self.hardest(far[pairs.anchors, pairs.positives])
        negative = self.hardest(-far[pairs.anchors_of_negatives, pairs.negatives])
        return Pairs(
            pairs.anchors[positive],
            pairs.positives[positive],
            pairs.anchors_of_negatives[negative],
            pairs.negatives[negative],
        )

    def hardest(self, hardness: Tensor) -> Tensor:
        """Positions of the share that is kept."""
        return hardness.topk(math.ceil(self.filter_percentage * len(hardness)), sorted=False).indices
