"""Adapted triplet: a triplet loss on mined triplets, and a cost on how unlike the batch the mined samples are."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.inputs import PairInputs
from mlcore.losses.registry import LOSSES
from mlcore.losses.triplet_margin import TripletMarginLoss, TripletOptions
from mlcore.reducers import Items, LossTerm, row_items
from mlcore.tuples import Pairs, Triplets


@LOSSES.add(
    "adapted_triplet",
    title="Adapted triplet",
    family="triplet",
    formula=(
        r"\big[d_{ap}-d_{an}+m\big]_+ +\frac{\lambda}{C}\sum_{c}"
        r"\Big\lVert\operatorname{mean}_{x\in S_c}\hat x-\operatorname{mean}_{x\in B_c}\hat x\Big\rVert^2"
    ),
    paper="Yu et al., ECCV 2018, Correcting the Triplet Selection Bias for Triplet Loss",
    aliases=("adapted triplet loss", "triplet loss with selection-bias correction"),
    unpictured="Its correction is about what a miner picks from a batch; the rest is the triplet margin loss.",
)
class AdaptedTripletLoss(TripletMarginLoss):
    """The triplet loss, with the samples that a miner chose held near the mean of their class in the batch.

    Hard triplets are a biased choice, and training on them alone may end in a bad place. The second term is the
    distance, class by class, between the mean of the chosen samples, each as often as it stands in a triplet, and
    the mean of all samples of the batch (a maximum mean discrepancy with a linear kernel).

    What to expect: Of use with a miner that picks hard triplets, such as batch hard. Without a miner every triplet is
    chosen, the two means agree, and what is left is the triplet loss.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,): then
    the chosen positives and negatives are held near the class means of the reference. The triplets make the part
    loss, the C classes with a chosen sample the part adaptation_loss.
    Raises: ValueError for tuples without labels.
    """

    def __init__(
        self,
        *,
        adaptation_weight: Annotated[float, Knob("Weight of the correction.", 0.0, 10.0, symbol=r"\lambda")] = 1.0,
        **rest: Unpack[TripletOptions],
    ) -> None:
        super().__init__(**rest)
        self.adaptation_weight = adaptation_weight

    def loss_terms(self, batch: PairInputs) -> dict[str, LossTerm]:
        parts = super().loss_terms(batch)
        if batch.indices_tuple is None or self.adaptation_weight == 0:
            return parts
        return parts | {"adaptation_loss": self.shifts(batch, batch.indices_tuple)}

    def shifts(self, batch: PairInputs, tuples: Pairs | Triplets) -> Items:
        """For each class with a chosen sample, the squared distance of the mean chosen one from the mean, weighted."""
        own = batch.ref_emb is None
        labels = batch.labels if own else batch.ref_labels
        if labels is None:
            raise ValueError(
                f"{type(self).__name__}: {'labels' if own else 'ref_labels'} must be given, also with an "
                "indices_tuple; got None. Pass one class number per row."
            )
        unit = self.distance.normalize(batch.reference())
        classes, of_class = labels.unique(return_inverse=True)
        often = count_in_triplets(tuples, len(batch.embeddings), len(labels), own).to(unit.dtype)
        counts = torch.stack([often, torch.ones_like(often)])  # (2, N): chosen, and all
        per_class = unit.new_zeros(2, len(classes)).index_add_(1, of_class, counts)
        weights = counts / per_class.clamp_min(1.0)[:, of_class]
        shift = unit.new_zeros(len(classes), unit.shape[1])
        shift = shift.index_add(0, of_class, (weights[0] - weights[1])[:, None] * unit)
        found = per_class[0] > 0
        return row_items(self.adaptation_weight * shift[found].square().sum(dim=1), classes[found])


def count_in_triplets(tuples: Pairs | Triplets, rows: int, columns: int, own: bool) -> Tensor:
    """(columns,): how often each sample stands in a triplet; as an anchor too, where the batch is its `own` reference.

    Pairs are not joined to triplets for that: a positive pair stands in as many as its anchor has negative pairs.
    """
    if isinstance(tuples, Triplets):
        return torch.bincount(torch.cat(tuples if own else tuples[1:]), minlength=columns)
    anchors, positives, anchors_of_negatives, negatives = tuples
    with_positives = torch.bincount(anchors, minlength=rows).double()
    with_negatives = torch.bincount(anchors_of_negatives, minlength=rows).double()
    counts = torch.bincount(positives, weights=with_negatives[anchors], minlength=columns)
    counts = counts + torch.bincount(negatives, weights=with_positives[anchors_of_negatives], minlength=columns)
    return counts + with_positives * with_negatives if own else counts
