"""Histogram loss: the chance that a negative pair is more similar than a positive one."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import PairInputs, check_pairs, outside_autocast, require_cosine
from mlcore.losses.registry import LOSSES
from mlcore.reducers import MeanReducer, Reduced, Reducer

BINS = 100


@LOSSES.add(
    "histogram",
    title="Histogram",
    family="pair",
    formula=r"\sum_{r}h^-_r\sum_{q\le r}h^+_q",
    paper="Ustinova and Lempitsky, NIPS 2016, arXiv:1611.00822, section 3",
    aliases=("HistogramLoss (pytorch-metric-learning)",),
    unpictured="It compares the histograms of all pairs of a batch, and a picture has one pair of each kind.",
)
class HistogramLoss(nn.Module):
    """Lowers the chance that a random negative pair is more similar than a random positive one.

    Both kinds of similarities go into histograms over -1 to 1, each pair shared by linear weights between the two
    nearest points, which gives it a gradient. Within a batch a pair and its mirror image count once. Similarities that
    rounding puts above 1 belong to the last point (pytorch-metric-learning writes past the end).

    What to expect: Almost nothing to set, and large batches make it better: the histograms are estimates.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    One value for the batch; 0 without positive or without negative pairs. A repeated pair counts once.
    Raises: ValueError for a distance that is not the cosine, and for n_bins and delta
    that contradict each other.
    """

    fitting_distances = ("cosine",)
    without_anchors = "its one value is that of the whole batch"

    def __init__(
        self,
        *,
        n_bins: Annotated[
            int | None, Knob("Steps of the histograms from -1 to 1.", 2, 1000, none=f"{BINS}", title="Steps")
        ] = None,
        delta: float | None = None,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        if delta is not None and (not 0.0 < delta <= 1.0 or n_bins not in (None, round(2.0 / delta))):
            raise ValueError(
                f"HistogramLoss: delta must be a step between 0 and 1, equal to 2 / n_bins; got {delta!r} with "
                f"n_bins={n_bins}. Pass one of the two."
            )
        self.n_bins = n_bins or (BINS if delta is None else round(2.0 / delta))
        self.distance = require_cosine(self, distance)
        self.reducer = reducer or MeanReducer()

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the one value, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positives, negatives = (mat[mask] for mask in self.pairs(batch))
        if len(positives) == 0 or len(negatives) == 0:
            return self.reducer({"loss": mat.new_empty(0)}, batch.embeddings)
        reverse = self.density(negatives) @ self.density(positives).cumsum(dim=0)
        return self.reducer({"loss": reverse.to(mat.dtype)[None]}, batch.embeddings)

    def pairs(self, batch: PairInputs) -> tuple[Tensor, Tensor]:
        """(B, N) masks in which each unordered pair stands once."""
        positive, negative = batch.masks()
        if batch.ref_emb is not None:
            return positive, negative
        return (positive | positive.T).triu(1), (negative | negative.T).triu(1)

    def density(self, similarities: Tensor) -> Tensor:
        """(n_bins + 1,) float64: the share of the pairs at each point from -1 to 1."""
        place = ((similarities + 1.0) * (0.5 * self.n_bins)).clamp(0.0, self.n_bins)
        with torch.no_grad():
            left = place.floor().clamp_max(self.n_bins - 1)
        right_share = (place - left).double()
        left = left.long()
        points = torch.zeros(self.n_bins + 1, dtype=torch.float64, device=similarities.device)
        points = points.scatter_add(0, left, 1.0 - right_share).scatter_add(0, left + 1, right_share)
        return points / len(similarities)
