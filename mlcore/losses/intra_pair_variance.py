"""Intra-pair variance: positive pairs alike in their similarity, negative pairs alike in theirs."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, LossTerm, MeanReducer, Reduced, Reducer, Sums


@LOSSES.add(
    "intra_pair_variance",
    title="Intra-pair variance",
    family="pair",
    formula=(
        r"\Big[(1-\epsilon_p)\operatorname{E}[s_{ap}]-s_{ap}\Big]_+^2"
        r"+\Big[s_{an}-(1+\epsilon_n)\operatorname{E}[s_{an}]\Big]_+^2"
    ),
    paper="Yu and Tao, ICCV 2019, Deep Metric Learning with Tuplet Margin Loss",
    aliases=("IntraPairVarianceLoss (pytorch-metric-learning)",),
    unpictured="It measures pairs by the mean of all of the batch, and a picture has one of each kind.",
)
class IntraPairVarianceLoss(nn.Module):
    """Pulls up the positive pairs that are less similar than the mean one, and down the negatives that are more.

    Only the wrong side of each mean costs, squared. The mean takes part in the gradient.

    What to expect: An addition to another loss, the tuplet margin loss in the paper. On its own it evens out
    similarities and need not separate anything.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A batch without positive or negative pairs loses nothing there. A repeated pair counts once.
    """

    needs_a_base_loss = "it evens out similarities, whatever they are"

    def __init__(
        self,
        *,
        pos_eps: Annotated[
            float,
            Knob(
                "Share of the mean by which positives may fall short.",
                0.0,
                1.0,
                symbol=r"\epsilon_p",
                title="Room for positives",
            ),
        ] = 0.01,
        neg_eps: Annotated[
            float,
            Knob(
                "Share of the mean by which negatives may exceed it.",
                0.0,
                1.0,
                symbol=r"\epsilon_n",
                title="Room for negatives",
            ),
        ] = 0.01,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.pos_eps = pos_eps
        self.neg_eps = neg_eps
        self.distance = distance or CosineSimilarity()
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
        """Return the sum of the positive and the negative mean, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        alike = self.distance.is_inverted
        parts: dict[str, LossTerm] = {"pos_loss": self.each(mat, positive, self.pos_eps, alike, batch.labels)}
        if self.reducer.needs_items:
            parts["neg_loss"] = self.each(mat, negative, self.neg_eps, not alike, batch.labels)
        else:
            parts["neg_loss"] = self.over(mat, negative, self.neg_eps, upwards=not alike)
        return self.reducer(parts, batch.embeddings)

    def each(self, mat: Tensor, mask: Tensor, eps: float, upwards: bool, labels: Tensor | None) -> Items:
        """The losses of the entries under `mask`, which should rise to their mean, or fall to it."""
        anchors, others = mask.nonzero(as_tuple=True)
        entries = mat[anchors, others]
        short = self.short(entries, entries.sum() / max(1, len(entries)), eps, upwards)
        return Items(short.relu_().square(), anchors, labels)

    def over(self, mat: Tensor, mask: Tensor, eps: float, upwards: bool) -> Sums:
        """The same by their sums, since picking most of a matrix out costs more."""
        count, others = mask.count_nonzero(), ~mask
        mean = mat.masked_fill(others, 0.0).sum() / count.clamp_min(1)
        short = self.short(mat, mean, eps, upwards).masked_fill_(others, 0.0).relu_()
        return Sums(short.square().sum(), count, short.count_nonzero())

    def short(self, entries: Tensor, mean: Tensor, eps: float, upwards: bool) -> Tensor:
        return (1.0 - eps) * mean - entries if upwards else entries - (1.0 + eps) * mean
