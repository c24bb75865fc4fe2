"""Centroid triplet: an embedding closer to the mean of its class than to the means of the others, by a margin."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.inputs import PairInputs, check_labelled_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.reducers import AvgNonZeroReducer, Items, Reduced, Reducer


@LOSSES.add(
    "centroid_triplet",
    title="Centroid triplet",
    family="triplet",
    formula=r"\big[d(a,c_y)^2-d(a,c_k)^2+m\big]_+,\quad k\ne y",
    paper="Wieczorek, Rychalska and Dabrowski, ICONIP 2021, arXiv:2104.13643",
    aliases=("CentroidTripletLoss (pytorch-metric-learning, unreleased)", "CTL"),
)
class CentroidTripletLoss(nn.Module):
    """Moves each embedding until the mean of its own class is nearer than the mean of every other class, by a margin.

    The mean of its own class leaves the embedding itself out. Means are taken of embeddings of length 1, and
    stay as they come out, inside the sphere: so a mean of scattered embeddings is near to nothing.

    What to expect: As many triplets as samples times classes, so it is cheap, and single odd samples hardly matter.
    Made for retrieval by class means.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,): then
    means are of the reference. Given tuples say which anchors and which other classes are compared; means are always
    over all samples. Averages over what still loses something; a class of one sample has no mean without itself.
    Raises: ValueError for tuples without labels.
    """

    def __init__(
        self,
        *,
        margin: Annotated[
            float,
            Knob("How much closer the own mean must be.", 0.0, 4.0, unit="squared distance", symbol="m"),
        ] = 0.05,
        smooth_loss: Annotated[bool, Knob("Round the corner: log(1 + exp) in place of the hinge.")] = False,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.smooth_loss = smooth_loss
        self.distance = distance or LpDistance(power=2)
        self.reducer = reducer or AvgNonZeroReducer()

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean over the triplets that still lose something, a scalar."""
        batch = check_labelled_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        own = batch.ref_emb is None
        unit = self.distance.normalize(batch.embeddings)
        reference = unit if batch.ref_emb is None else self.distance.normalize(batch.ref_emb)
        classes, of_class = batch.needed_reference_labels().unique(return_inverse=True)
        sums = unit.new_zeros(len(classes), unit.shape[1]).index_add(0, of_class, reference)
        sizes = torch.bincount(of_class, minlength=len(classes)).to(unit.dtype)[:, None]
        to_means = self.far(self.distance.matrix(unit, sums / sizes))  # (B, C)
        if own:
            without = (sums[of_class] - unit) / (sizes[of_class] - 1.0).clamp_min(1.0)
            to_own = self.far(self.distance.rows(unit, without))
        else:
            to_own = to_means[torch.arange(len(unit), device=unit.device), self.place(batch.needed_labels(), classes)]
        anchors, others = self.compared(batch, of_class, len(classes)).nonzero(as_tuple=True)
        violation = to_own[anchors] - to_means[anchors, others] + self.margin
        losses = F.softplus(violation) if self.smooth_loss else F.relu(violation)
        return self.reducer({"loss": Items(losses, anchors, batch.labels)}, batch.embeddings)

    def compared(self, batch: PairInputs, of_class: Tensor, count: int) -> Tensor:
        """(B, C): the anchors that have a positive, with each class in which they have a negative."""
        positive, negative = batch.masks()
        members = F.one_hot(of_class, count).to(batch.embeddings.dtype)
        return positive.any(dim=1)[:, None] & (negative.to(members.dtype) @ members > 0)

    def place(self, labels: Tensor, classes: Tensor) -> Tensor:
        """Where each label stands among the sorted classes; any place where it does not."""
        return torch.searchsorted(classes, labels).clamp_max(len(classes) - 1)

    def far(self, raw: Tensor) -> Tensor:
        """What the distance makes of it, without scaling means to length 1 again; large always means far."""
        dists = raw if self.distance.power == 1 else raw**self.distance.power
        return -dists if self.distance.is_inverted else dists
