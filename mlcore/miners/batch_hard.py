"""Batch hard: for each anchor, its farthest positive and its closest negative."""

from __future__ import annotations

import torch
from torch import Tensor

from mlcore.distances import Distance, LpDistance
from mlcore.miners.registry import MINERS
from mlcore.tuples import Triplets, label_masks


@MINERS.add(
    "batch_hard",
    title="Batch hard",
    family="triplet",
    formula=r"p=\arg\max_{p} d_{ap},\quad n=\arg\min_{n} d_{an}",
    paper="Hermans, Beyer and Leibe, 2017, arXiv:1703.07737, eq. 5",
    aliases=("BatchHardMiner (pytorch-metric-learning)",),
)
class BatchHardMiner:
    """Takes one triplet per embedding: its farthest positive and its closest negative.

    What to expect: Strong late in training. At the very start, or with wrong labels, the hardest are mostly noise, and
    a triplet loss can collapse to one point; begin with a milder miner or a smaller learning rate.

    Shapes: embeddings (B, D), labels (B,). An anchor without a positive or without a negative gives no triplet.
    """

    def __init__(self, *, distance: Distance | None = None) -> None:
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
        positives = far.masked_fill(~same, -torch.inf).argmax(dim=1)
        negatives = far.masked_fill(~different, torch.inf).argmin(dim=1)
        anchors = (same.any(dim=1) & different.any(dim=1)).nonzero()[:, 0]
        return Triplets(anchors, positives[anchors], negatives[anchors])
