"""Uniform histogram mining: as many pairs from each distance as from any other."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.miners.draws import SEED, DrawingMiner
from mlcore.miners.registry import MINERS
from mlcore.tuples import Pairs, all_pairs


@MINERS.add(
    "uniform_histogram",
    title="Uniform histogram",
    family="pair",
    formula=r"|\{(a,p):d_{ap}\in b\}|=k_p,\quad |\{(a,n):d_{an}\in b\}|=k_n\quad\forall b",
    paper="No paper of its own; pytorch-metric-learning 1.0, Musgrave et al., 2020, arXiv:2008.09164",
    aliases=("UniformHistogramMiner (pytorch-metric-learning)",),
)
class UniformHistogramMiner(DrawingMiner):
    """Sorts positive and negative pairs into bins of distance and draws the same number from every bin.

    Bins run from the smallest to the largest distance of their kind. Draws are with replacement, so that a bin with
    few pairs weighs as much as a full one; empty bins give nothing.

    What to expect: The rare pairs, very near and very far, are seen as often as the crowd in the middle. A single
    outlier can fill a bin on its own and is then drawn again and again.

    Shapes: embeddings (B, D), labels (B,). A batch with one kind of pair gives that kind. Draws from its own generator
    (miners/draws.py).
    """

    draws_with_replacement = True

    def __init__(
        self,
        *,
        num_bins: Annotated[int, Knob("Bins between the smallest and the largest distance.", 1, 10_000)] = 100,
        pos_per_bin: Annotated[
            int, Knob("Positive pairs drawn from each bin that has any.", 1, 1000, symbol="k_p")
        ] = 10,
        neg_per_bin: Annotated[
            int, Knob("Negative pairs drawn from each bin that has any.", 1, 1000, symbol="k_n")
        ] = 10,
        seed: Annotated[int, SEED] = 0,
        distance: Distance | None = None,
    ) -> None:
        super().__init__(seed)
        self.num_bins = num_bins
        self.pos_per_bin = pos_per_bin
        self.neg_per_bin = neg_per_bin
        self.distance = distance or LpDistance()

    @torch.no_grad()
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Pairs:
        self.start_draws()
        mat = self.distance(embeddings, ref_emb)  # (B, N)
        anchors, positives, anchors_of_negatives, negatives = all_pairs(labels, ref_labels, own)
        positive = self.drawn(mat[anchors, positives], self.pos_per_bin)
        negative = self.drawn(mat[anchors_of_negatives, negatives], self.neg_per_bin)
        return Pairs(anchors[positive], positives[positive], anchors_of_negatives[negative], negatives[negative])

    def drawn(self, dists: Tensor, per_bin: int) -> Tensor:
        """Positions drawn from `dists`, bin after bin."""
        if len(dists) == 0:
            return torch.empty(0, dtype=torch.long, device=dists.device)
        low, high = dists.aminmax()
        edges = low + (high - low) * torch.linspace(0.0, 1.0, self.num_bins + 1, device=dists.device, dtype=dists.dtype)
        bins = torch.bucketize(dists, edges[1:-1], right=True)
        counts = torch.bincount(bins, minlength=self.num_bins)
        start = counts.cumsum(0) - counts
        filled = counts.nonzero()[:, 0]
        draws = self.uniform(len(filled), per_bin, device=dists.device) * counts[filled, None]
        return bins.argsort()[(start[filled, None] + draws.long()).flatten()]
