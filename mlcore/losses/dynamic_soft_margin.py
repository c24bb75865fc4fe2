"""Dynamic soft margin: a triplet loss whose weights are the share of easier triplets seen lately."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_unit_euclidean
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, MeanReducer, Reduced, Reducer


@LOSSES.add(
    "dynamic_soft_margin",
    title="Dynamic soft margin",
    family="triplet",
    formula=r"F(\delta_{ap})\,\delta_{ap},\quad \delta_{ap}=d_{ap}-\min_{n}\min(d_{an},d_{pn})",
    paper="Zhang and Rusinkiewicz, ICCV 2019, section 3",
    aliases=("DynamicSoftMarginLoss (pytorch-metric-learning)", "CDF-based dynamic soft margin"),
    unpictured="Its weights come from the batches that it has seen, and a new one has seen none.",
)
class DynamicSoftMarginLoss(nn.Module):
    """Compares each positive pair with its hardest negative and weighs it by how few others are as hard.

    F is the share of pairs, over the recent batches, that are easier; it stands in place of a margin to be set. The
    hardest negative is the nearest one to either end, as in the paper; pytorch-metric-learning takes all triplets
    where labels are given. Each batch enters the running histogram with the share `momentum`, whatever its size;
    pytorch-metric-learning adds its raw counts, so that the last batch rules. F takes no gradient.

    What to expect: Made for pairs of matching patches, two samples of each class. The value may be below zero and falls
    as long as training helps. The histogram is saved with the loss and only changes in training mode.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over the positive pairs that have a negative. Given tuples name the negatives to choose from; a
    repeated pair counts once.
    Raises: ValueError for a distance other than that of unit vectors.
    """

    fitting_distances = ("lp",)
    tracks_batches = "a running histogram"
    histogram: Tensor

    def __init__(
        self,
        *,
        min_val: Annotated[float, Knob("Where the histogram starts.", -2.0, -0.1, unit="distance")] = -2.0,
        num_bins: Annotated[int, Knob("Steps of the histogram, up to minus its start.", 2, 1000, log=True)] = 10,
        momentum: Annotated[float, Knob("Share of the last batch in the histogram.", 0.0, 1.0)] = 0.01,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.min_val = min_val
        self.num_bins = num_bins
        self.momentum = momentum
        self.distance = require_unit_euclidean(self, distance)
        self.reducer = reducer or MeanReducer()
        self.register_buffer("histogram", torch.zeros(num_bins + 1))

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean over the positive pairs, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        negatives = mat.masked_fill(~negative, torch.inf)
        from_anchor = negatives.amin(dim=1)  # (B,)
        from_positive = from_anchor if batch.ref_emb is None else negatives.amin(dim=0)
        anchors, positives = positive.nonzero(as_tuple=True)
        closest = torch.minimum(from_anchor[anchors], from_positive[positives])
        known = closest.isfinite()
        leads = mat[anchors[known], positives[known]] - closest[known]
        losses = self.shares(leads.detach()) * leads
        return self.reducer({"loss": Items(losses, anchors[known], batch.labels)}, batch.embeddings)

    @torch.no_grad()
    def shares(self, leads: Tensor) -> Tensor:
        """(P,): for each lead of a negative over its positive, the share of smaller ones, these included."""
        if len(leads) == 0:
            return leads
        place = ((leads - self.min_val) * (self.num_bins / (2.0 * abs(self.min_val)))).clamp(0.0, self.num_bins)
        left = place.floor().clamp_max(self.num_bins - 1).long()
        right_share = place - left
        found = leads.new_zeros(self.num_bins + 1)
        found.scatter_add_(0, left, 1.0 - right_share).scatter_add_(0, left + 1, right_share)
        found /= found.sum()
        known = self.histogram.to(leads)
        if not bool(known.any()):
            known = found
        elif self.training:
            known = known + self.momentum * (found - known)
        if self.training:
            self.histogram.copy_(known)
        return known.cumsum(dim=0)[left]
