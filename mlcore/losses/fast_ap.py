"""FastAP: average precision from a soft histogram of distances."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import anchor_items
from mlcore.reducers import MeanReducer, Reduced, Reducer


@LOSSES.add(
    "fast_ap",
    title="FastAP",
    family="list",
    formula=(
        r"1-\frac{1}{|P(a)|}\sum_{j=0}^{Q}\frac{h^+_jH^+_j}{H_j},\quad "
        r"h_j=\sum_i\Big[1-\frac{|d_{ai}^2-z_j|}{4/Q}\Big]_+,\quad H_j=\sum_{k\le j}h_k"
    ),
    paper="Cakir et al., CVPR 2019",
    aliases=("FastAPLoss (pytorch-metric-learning)",),
)
class FastAPLoss(nn.Module):
    """Raises the average precision of each embedding's list, read off a histogram of squared distances.

    Each distance is shared between its two nearest bins, so that moving an item a little moves the precision a little.
    `h` counts an anchor's items in a bin, `H` up to it; the plus is for positives only.

    What to expect: Cheap even in large batches, which it likes, with several samples of each class. Order inside a bin
    does not count: more bins see finer, fewer bins smooth more. Already sorted lists feel next to nothing.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A miner's tuples say which items stand in each anchor's list (pytorch-metric-learning weighs the anchors instead).
    The mean goes over the anchors that have a positive.
    Raises: ValueError for a distance of another range: it must be LpDistance with
    p=2 of normalised embeddings.
    """

    fitting_distances = ("lp",)

    def __init__(
        self,
        *,
        num_bins: Annotated[
            int, Knob("Bins between the smallest and the largest squared distance.", 2, 200, symbol="Q", log=True)
        ] = 10,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.distance = distance or LpDistance(power=2)
        self.reducer = reducer or MeanReducer()
        lp = isinstance(self.distance, LpDistance)
        if not lp or self.distance.p != 2 or not self.distance.normalize_embeddings:
            raise ValueError(
                "FastAPLoss: distance must be LpDistance(p=2) of normalised embeddings, so that its range is known; "
                f"got {type(self.distance).__name__}. Leave distance out."
            )

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return one minus the mean of the average precisions, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        positives, negatives = self.histograms(mat, positive, negative)  # (B, Q + 1)
        up_to = positives.cumsum(dim=1)
        everyone = up_to + negatives.cumsum(dim=1)
        how_many = positive.sum(dim=1)
        precision = up_to / torch.where(everyone > 0, everyone, 1.0)
        losses = 1.0 - (positives * precision).sum(dim=1) / how_many.clamp_min(1)
        return self.reducer({"loss": anchor_items(losses, how_many > 0, batch.labels)}, batch.embeddings)

    def histograms(self, mat: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q + 1) soft counts of each anchor's positives and negatives, around bin centres from 0 to the largest."""
        place = mat * (self.num_bins / 2.0**self.distance.power)
        lower = place.detach().floor().clamp(0, self.num_bins - 1)
        upper_share = place - lower
        counted = positive | negative
        bins = lower.long() + (self.num_bins + 1) * negative  # negatives in a second histogram behind the first
        both = mat.new_zeros((len(mat), 2 * (self.num_bins + 1)))
        both = both.scatter_add(1, bins, (1.0 - upper_share).masked_fill(~counted, 0.0))
        both = both.scatter_add(1, bins + 1, upper_share.masked_fill(~counted, 0.0))
        return both.split(self.num_bins + 1, dim=1)
