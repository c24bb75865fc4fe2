"""Triplet margin loss: an anchor closer to its positive than to its negative, by a margin."""

from __future__ import annotations

from typing import Annotated, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.all_triplets import sum_over_all_triplets
from mlcore.losses.inputs import PairInputs, check_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine
from mlcore.reducers import AvgNonZeroReducer, Items, LossTerm, Reduced, Reducer
from mlcore.tuples import Triplets, to_triplets


class TripletOptions(TypedDict, total=False):
    """What `TripletMarginLoss` takes by name."""

    margin: float
    swap: bool
    smooth_loss: bool
    distance: Distance | None
    reducer: Reducer | None


@LOSSES.add(
    "triplet_margin",
    title="Triplet margin",
    family="triplet",
    formula=r"\big[d_{ap}-d_{an}+m\big]_+",
    paper="Schroff et al., CVPR 2015, arXiv:1503.03832",
    aliases=(
        "TripletMarginLoss (pytorch-metric-learning, torch)",
        "TripletMarginWithDistanceLoss (torch)",
        "BatchAllTripletLoss (sentence-transformers, without a miner)",
        "BatchHardTripletLoss (sentence-transformers, with the batch-hard miner)",
    ),
)
class TripletMarginLoss(nn.Module):
    """Moves each embedding until its positives are closer than its negatives by a margin, and then leaves it alone.

    Without a miner every triplet of the batch counts, and none is ever written down: their number grows with the cube
    of the batch, so the loss works on the matrix of distances (losses/all_triplets.py). Averages over the triplets that
    still lose something. The paper squares the distances: `distance=LpDistance(power=2)`.

    What to expect: Only order matters, so classes need not shrink to points. Most triplets are soon satisfied, and
    training slows down unless a miner finds the ones left; taking only the hardest from the very start can collapse
    all embeddings to one point (the loss then stays at the margin).

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A batch without triplets gives 0.
    """

    def __init__(
        self,
        *,
        margin: Annotated[
            float,
            Knob("How much closer the positive must be than the negative.", 0.0, 2.0, unit="distance", symbol="m"),
        ] = 0.05,
        swap: Annotated[
            bool, Knob("Use the distance from positive to negative where that is shorter than from the anchor.")
        ] = False,
        smooth_loss: Annotated[bool, Knob("Round the corner: log(1 + exp) in place of the hinge.")] = False,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.swap = swap
        self.smooth_loss = smooth_loss
        self.distance = distance or LpDistance()
        self.reducer = reducer or AvgNonZeroReducer()

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean over the triplets that still lose something, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        return self.reducer(self.loss_terms(batch), batch.embeddings)

    def loss_terms(self, batch: PairInputs) -> dict[str, LossTerm]:
        mat = self.far(batch.embeddings, batch.ref_emb)  # (B, N)
        ref_mat = None  # (N, N): positives and negatives are both positions in the reference
        if self.swap:
            ref_mat = mat if batch.ref_emb is None else self.far(batch.ref_emb)
        return {"loss": self.losses(mat, ref_mat, batch)}

    def losses(self, mat: Tensor, ref_mat: Tensor | None, batch: PairInputs) -> LossTerm:
        given = batch.indices_tuple
        if isinstance(given, Triplets) or (given is not None and self.reducer.needs_items):
            return self.each(mat, ref_mat, to_triplets(given), batch.labels)
        if self.reducer.needs_items:
            return self.each(mat, ref_mat, batch.all_triplets(), batch.labels)
        same, different = batch.masks()
        if given is not None and int(same.sum() + different.sum()) < len(given.anchors) + len(given.negatives):
            return self.each(mat, ref_mat, to_triplets(given), batch.labels)  # a repeated pair counts again
        return sum_over_all_triplets(mat, ref_mat, same, different, self.margin, self.smooth_loss)

    def each(self, mat: Tensor, ref_mat: Tensor | None, triplets: Triplets, labels: Tensor | None) -> Items:
        """One loss per given triplet."""
        anchors, positives, negatives = triplets
        to_negative = mat[anchors, negatives]
        if ref_mat is not None:
            to_negative = torch.minimum(to_negative, ref_mat[positives, negatives])
        violation = mat[anchors, positives] - to_negative + self.margin
        return Items(F.softplus(violation) if self.smooth_loss else F.relu(violation), anchors, labels)

    def far(self, embeddings: Tensor, ref_emb: Tensor | None = None) -> Tensor:
        """The distances, or the similarities turned round: large always means far."""
        mat = self.distance(embeddings, ref_emb)
        return -mat if self.distance.is_inverted else mat

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where negatives must lie beyond, for a typical positive pair."""
        lp = isinstance(self.distance, LpDistance) and self.distance.normalize_embeddings
        if not lp or self.distance.p != 2 or self.distance.power != 1:
            return ()
        return (MarginLine("Positive pair + margin", "pairs", "distance", self.margin),)
