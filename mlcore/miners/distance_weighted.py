"""Distance-weighted mining: negatives drawn evenly over distances, not over samples."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.miners.draws import SEED, DrawingMiner
from mlcore.miners.registry import MINERS
from mlcore.miners.sphere import only_euclidean
from mlcore.tuples import Triplets, label_masks


@MINERS.add(
    "distance_weighted",
    title="Distance weighted",
    family="triplet",
    formula=r"\Pr(n\mid a)\propto 1/q(d_{an}),\quad q(d)\propto d^{D-2}\big(1-\tfrac{1}{4}d^2\big)^{\frac{D-3}{2}}",
    paper="Wu et al., ICCV 2017, arXiv:1706.07567, section 4",
    aliases=("DistanceWeightedMiner (pytorch-metric-learning)", "distance weighted sampling"),
)
class DistanceWeightedMiner(DrawingMiner):
    """Draws one negative for each positive pair, so that close and middling distances come as often as each other.

    Of random points on a sphere in many dimensions nearly all are at right angles; q(d) is that crowding, and dividing
    by it evens it out. The weights are compared within each anchor, in logarithms: pytorch-metric-learning compares
    them over the whole batch, where in 128 dimensions whole anchors vanish. It also draws the positives, with
    repeats; here each positive pair comes once, as in the paper. The paper caps the weights; as its authors' code
    does, distances below `cutoff` count as that far.

    What to expect: Made for the margin loss, and steadier than hard negatives. Early on hardly any negative is closer
    than `nonzero_loss_cutoff`, which leaves few triplets if it is set low; it should be no less than the loss's
    beta + margin.

    Shapes: embeddings (B, D), labels (B,). An anchor without a negative inside the cutoff gives no triplet. Draws from
    its own generator (miners/draws.py).
    Raises: ValueError for a distance other than the Euclidean one of normalised embeddings.
    """

    def __init__(
        self,
        *,
        cutoff: Annotated[float, Knob("Closer negatives are as likely as at this distance.", 0.05, 1.9)] = 0.5,
        nonzero_loss_cutoff: Annotated[
            float, Knob("Negatives from here on are left out: they lose nothing.", 0.1, 2.0)
        ] = 1.4,
        seed: Annotated[int, SEED] = 0,
        distance: Distance | None = None,
    ) -> None:
        super().__init__(seed)
        self.cutoff = cutoff
        self.nonzero_loss_cutoff = nonzero_loss_cutoff
        self.distance = only_euclidean("distance_weighted", distance or LpDistance(), unit=True)

    @torch.no_grad()
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Triplets:
        self.start_draws()
        dists = LpDistance()(embeddings, ref_emb)  # (B, N)
        same, different = label_masks(labels, ref_labels, own)
        useful = different & (dists < self.nonzero_loss_cutoff)
        heaps = self.weights(dists, embeddings.shape[1], useful).cumsum(dim=1)
        same &= useful.any(dim=1, keepdim=True)
        anchors, positives = same.nonzero(as_tuple=True)
        if len(anchors) == 0:
            return Triplets(anchors, positives, anchors.clone())
        per_row = same.sum(dim=1)
        slot = torch.arange(len(anchors), device=anchors.device) - (per_row.cumsum(0) - per_row)[anchors]
        total = heaps[:, -1:]
        aims = self.uniform(len(heaps), int(per_row.max()), device=dists.device) * total
        aims = torch.minimum(aims, torch.nextafter(total, torch.zeros_like(total)))
        drawn = torch.searchsorted(heaps, aims, right=True).clamp_max(heaps.shape[1] - 1)
        return Triplets(anchors, positives, drawn[anchors, slot])

    def weights(self, dists: Tensor, columns: int, useful: Tensor) -> Tensor:
        """(B, N) float64: how likely each is to be drawn, in each row a multiple of 1 / q; 0 where it may not be."""
        dists = dists.clamp(self.cutoff, 2.0)
        space = (1.0 - 0.25 * dists.square()).clamp_min(torch.finfo(dists.dtype).eps)
        log_weights = (2.0 - columns) * dists.log() - 0.5 * (columns - 3.0) * space.log()
        log_weights = log_weights.masked_fill(~useful, -torch.inf)
        highest = log_weights.amax(dim=1, keepdim=True)
        return torch.where(useful, (log_weights - highest).exp(), 0.0).double()
