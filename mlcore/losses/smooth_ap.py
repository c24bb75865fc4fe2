"""Smooth-AP: average precision, with the steps of the ranks rounded."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_cosine
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import anchor_items, mean_by_anchor, soft_ranks, to_similarity
from mlcore.reducers import MeanReducer, Reduced, Reducer


@LOSSES.add(
    "smooth_ap",
    title="Smooth-AP",
    family="list",
    formula=(
        r"1-\frac{1}{|P(a)|}\sum_{p\in P(a)}\frac{1+\sum_{i\in P(a)\setminus p}\sigma\big((s_{ai}-s_{ap})/\tau\big)}"
        r"{1+\sum_{i\ne a,p}\sigma\big((s_{ai}-s_{ap})/\tau\big)}"
    ),
    paper="Brown et al., ECCV 2020, arXiv:2007.12163",
    aliases=("SmoothAPLoss (pytorch-metric-learning)", "smooth average precision"),
)
class SmoothAPLoss(nn.Module):
    """Raises the average precision of each embedding's list: positives before negatives, first places first.

    Ranks are counted with sigmoids in place of steps. The anchor does not stand in its own list, as in the paper; the
    authors' code and pytorch-metric-learning count it as one more positive, always in first place. Classes may be of
    any sizes and in any order; theirs must be equal and sorted, and is right only with as many classes as samples of
    each.

    What to expect: The order of the whole list counts, not distances: once the order is right, it stops, however close
    the classes lie. It wants large batches with several samples of each class. A very small temperature gives a
    gradient only to near ties.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A miner's tuples say which items stand in each anchor's list (pytorch-metric-learning weighs the anchors instead).
    The mean goes over the anchors that have a positive. There is no second derivative.
    """

    fitting_distances = ("cosine",)

    def __init__(
        self,
        *,
        temperature: Annotated[
            float,
            Knob("Lead at which one item clearly stands before another.", 0.001, 1.0, symbol=r"\tau", log=True),
        ] = 0.01,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
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
        """Return one minus the mean of the average precisions, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = to_similarity(self.distance, batch)
        positive, negative = batch.masks()
        anchors, positives_before, negatives_before = soft_ranks(mat, positive, negative, self.temperature)
        rank_among_positives = 1.0 + positives_before
        how_many = positive.sum(dim=1)
        precision = rank_among_positives / (rank_among_positives + negatives_before)
        losses = 1.0 - mean_by_anchor(precision, anchors, how_many)  # (B,)
        return self.reducer({"ap_loss": anchor_items(losses, how_many > 0, batch.labels)}, batch.embeddings)
