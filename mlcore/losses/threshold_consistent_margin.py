"""Threshold-consistent margin: keeps all classes at one similarity threshold."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_cosine
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine, angle_of_cosine
from mlcore.reducers import AvgNonZeroReducer, Items, LossTerm, Reduced, Reducer, Sums


@LOSSES.add(
    "threshold_consistent_margin",
    title="Threshold-consistent margin",
    family="pair",
    formula=r"\lambda^+\big[m^+-s_{ap}\big]_+ + \lambda^-\big[s_{an}-m^-\big]_+",
    paper="Zhang et al., ICLR 2024, arXiv:2307.04047",
    aliases=("ThresholdConsistentMarginLoss (pytorch-metric-learning)", "TCM"),
)
class ThresholdConsistentMarginLoss(nn.Module):
    """Holds positive pairs above one cosine and negative pairs below another, the same two for all classes.

    Each half is averaged over the pairs on its wrong side. With a reference the second of each pair comes from there;
    pytorch-metric-learning takes it from the batch.

    What to expect: An addition to another loss, so that one threshold fits all classes where pairs are to be accepted
    or refused. It looks at the hard pairs only.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A batch without positive or negative pairs loses nothing there. A repeated pair counts once.
    Raises: ValueError for a distance that is not the cosine.
    """

    fitting_distances = ("cosine",)

    def __init__(
        self,
        *,
        lambda_plus: Annotated[float, Knob("Weight of the positive half.", 0.0, 10.0, symbol=r"\lambda^+")] = 1.0,
        lambda_minus: Annotated[float, Knob("Weight of the negative half.", 0.0, 10.0, symbol=r"\lambda^-")] = 1.0,
        margin_plus: Annotated[
            float, Knob("Positives above this are left alone.", -1.0, 1.0, unit="cosine", symbol="m^+")
        ] = 0.9,
        margin_minus: Annotated[
            float, Knob("Negatives below this are left alone.", -1.0, 1.0, unit="cosine", symbol="m^-")
        ] = 0.5,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.lambda_plus = lambda_plus
        self.lambda_minus = lambda_minus
        self.margin_plus = margin_plus
        self.margin_minus = margin_minus
        self.distance = require_cosine(self, distance)
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
        """Return the weighted sum of the positive and the negative half, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        parts = {
            "pos_loss": self.over(positive, F.relu(self.margin_plus - mat), self.lambda_plus, batch.labels),
            "neg_loss": self.over(negative, F.relu(mat - self.margin_minus), self.lambda_minus, batch.labels),
        }
        return self.reducer(parts, batch.embeddings)

    def over(self, mask: Tensor, losses: Tensor, weight: float, labels: Tensor | None) -> LossTerm:
        if self.reducer.needs_items:
            return Items(weight * losses[mask], mask.nonzero()[:, 0], labels)
        losses = losses.masked_fill(~mask, 0.0)
        return Sums(weight * losses.sum(), mask.count_nonzero(), losses.count_nonzero())

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """The two cosines as angles."""
        return (
            MarginLine("Positives rest inside", "pairs", "fixed", angle_of_cosine(self.margin_plus)),
            MarginLine("Negatives rest outside", "pairs", "fixed", angle_of_cosine(self.margin_minus)),
        )
