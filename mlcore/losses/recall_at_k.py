"""Recall@k surrogate: the share of positives among the first k of the list, with both steps rounded."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_cosine
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import anchor_items, soft_ranks, to_similarity
from mlcore.reducers import MeanReducer, Reduced, Reducer


@LOSSES.add(
    "recall_at_k",
    title="Recall@k surrogate",
    family="list",
    formula=(
        r"1-\frac{1}{|K|}\sum_{k\in\{1,2,4,\dots,k_{\max}\}}\frac{1}{\min(k,|P(a)|)}\sum_{p\in P(a)}"
        r"\sigma\Big(\frac{k-r_p}{\tau_1}\Big),\quad r_p=1+\sum_{i\ne a,p}\sigma\Big(\frac{s_{ai}-s_{ap}}{\tau_2}\Big)"
    ),
    paper="Patel, Tolias and Matas, CVPR 2022, arXiv:2108.11179",
    aliases=("RecallatK (authors' code)", "RS@k"),
)
class RecallAtKLoss(nn.Module):
    """Brings each embedding's positives among its first 1, 2, 4, ... neighbours.

    A first sigmoid makes soft ranks, a second asks whether a rank is at most k. As in the authors' code, the sum over
    the positives is held at k and divided by the smaller of k and their number, so that a perfect list scores well at
    every k. The anchor does not stand in its own list; the authors' code counts it before every positive. The paper's
    mixing of similarities (SiMix) is not part of the loss.

    What to expect: Made for very large batches (the paper: 4,096) with 4 samples of a class. Only the order counts, and
    only near the first k places: in a bad list, an item far down feels next to nothing. It does not reach 0, since
    the last of the first k places counts one half.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A miner's tuples say which items stand in each anchor's list. The mean goes over the anchors that have a positive.
    There is no second derivative.
    """

    fitting_distances = ("cosine",)

    def __init__(
        self,
        *,
        largest_k: Annotated[
            int, Knob("Places 1, 2, 4 ... up to this one count.", 1, 1024, symbol=r"k_{\max}", log=True)
        ] = 16,
        rank_temperature: Annotated[
            float, Knob("How soft the end of the first k places is.", 0.1, 10.0, unit="places", symbol=r"\tau_1")
        ] = 1.0,
        temperature: Annotated[
            float,
            Knob("Lead at which one item clearly stands before another.", 0.001, 1.0, symbol=r"\tau_2", log=True),
        ] = 0.01,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.largest_k = largest_k
        self.rank_temperature = rank_temperature
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
        """Return one minus the mean recall over anchors and k, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = to_similarity(self.distance, batch)
        positive, negative = batch.masks()
        anchors, positives_before, negatives_before = soft_ranks(mat, positive, negative, self.temperature)
        places = mat.new_tensor([2**power for power in range(self.largest_k.bit_length())])  # (K,)
        ranks = 1.0 + positives_before + negatives_before
        inside = ((places - ranks[:, None]) / self.rank_temperature).sigmoid()  # (M, K)
        found = inside.new_zeros((len(mat), len(places))).index_add(0, anchors, inside).minimum(places)
        how_many = positive.sum(dim=1)
        recall = found / places.minimum(how_many[:, None].clamp_min(1))
        losses = 1.0 - recall.mean(dim=1)  # (B,)
        return self.reducer({"loss": anchor_items(losses, how_many > 0, batch.labels)}, batch.embeddings)
