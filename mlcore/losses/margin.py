"""Margin loss: positives inside, negatives outside a boundary that may be learned."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance, LpDistance
from mlcore.losses.inputs import PairInputs, check_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine, angle_of_distance
from mlcore.reducers import AvgNonZeroReducer, Items, LossTerm, Reduced, Reducer, Sums
from mlcore.tuples import Triplets, to_triplets


@LOSSES.add(
    "margin",
    title="Margin",
    family="triplet",
    formula=r"\big[d_{ap}-\beta+m\big]_+ + \big[\beta-d_{an}+m\big]_+ + \nu\beta",
    paper="Wu et al., ICCV 2017, arXiv:1706.07567, section 4",
    aliases=("MarginLoss (pytorch-metric-learning)",),
)
class MarginLoss(nn.Module):
    """Keeps positives inside a boundary and negatives outside of it, each by a margin; the boundary may be learned.

    The sum over all triplets is divided by the number of hinges above zero, as in the paper. Without a miner no
    triplet is written down: a pair counts as often as it stands in one, which follows from the size of its class.
    The boundary `beta` is one number or one per class, fixed or learned; with one per class its cost nu * beta is
    summed over the triplets like the hinges, as the authors do, with a single one it is added once, as
    pytorch-metric-learning does.

    What to expect: Made for the distance-weighted miner, steady also without it. A learned boundary wants a learning
    rate of its own; nu pulls it down where it drifts away.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers, in [0, num_classes) where the boundary
    is per class; ref_emb (N, D), ref_labels (N,). A batch without triplets gives 0. A repeated triplet counts again, a
    repeated pair once.
    Raises: ValueError for labels that have no boundary, and for a boundary that no cosine
    reaches.
    """

    fitting_distances = ("lp", "dot_product", "snr", "batched")

    def __init__(
        self,
        *,
        margin: Annotated[
            float, Knob("Room on either side of the boundary.", 0.0, 2.0, unit="distance", symbol="m")
        ] = 0.2,
        nu: Annotated[
            float,
            Knob("Cost of a learned boundary: pulls it down.", 0.0, 1.0, symbol=r"\nu", title="Cost of the boundary"),
        ] = 0.0,
        beta: Annotated[
            float,
            Knob("The boundary, or where it starts.", -1.0, 4.0, unit="distance", symbol=r"\beta", title="Boundary"),
        ] = 1.2,
        learn_beta: Annotated[bool, Knob("Learn the boundary.")] = False,
        beta_per_class: Annotated[
            bool, Knob("A boundary for each class (of use when it is learned).", needs="num_classes")
        ] = False,
        num_classes: int | None = None,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        if beta_per_class and num_classes is None:
            raise ValueError("MarginLoss: beta_per_class must come with num_classes; got None. Pass num_classes.")
        self.margin = margin
        self.nu = nu
        self.learn_beta = learn_beta
        self.distance = distance or LpDistance()
        self.reducer = reducer or AvgNonZeroReducer()
        if isinstance(self.distance, CosineSimilarity) and not -1.0 <= beta <= 1.0:
            raise ValueError(
                f"MarginLoss: with a cosine, beta must be between -1 and 1; got {beta:g}. For cosines pass beta=0.5."
            )
        boundary = torch.full((num_classes or 1,), float(beta))
        if learn_beta:
            self.beta = nn.Parameter(boundary)
        else:
            self.register_buffer("beta", boundary)

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the sum over the triplets divided by the number of hinges above zero, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        beta = self.boundaries(batch)  # (B, 1)
        too_far = F.relu(self.distance.margin(mat, beta) + self.margin)
        too_close = F.relu(self.distance.margin(beta, mat) + self.margin)
        parts = self.loss_terms(too_far, too_close, beta[:, 0], batch)
        return self.reducer(parts, batch.embeddings)

    def boundaries(self, batch: PairInputs) -> Tensor:
        """(B, 1): each anchor's boundary."""
        beta = self.beta.to(batch.embeddings.dtype)
        if len(beta) == 1:
            return beta.expand(len(batch.embeddings), 1)
        if batch.labels is None:
            raise ValueError("MarginLoss: labels must be given where beta is per class; got None. Pass labels.")
        outside = (batch.labels < 0) | (batch.labels >= len(beta))
        if bool(outside.any()):
            raise ValueError(
                f"MarginLoss: labels must lie in [0, {len(beta)}), one beta per class; "
                f"got {int(batch.labels[outside][0])}. Build the loss with num_classes={int(batch.labels.max()) + 1}."
            )
        return beta[batch.labels, None]

    def loss_terms(self, too_far: Tensor, too_close: Tensor, beta: Tensor, batch: PairInputs) -> dict[str, LossTerm]:
        if isinstance(batch.indices_tuple, Triplets) or self.reducer.needs_items:
            return self.listed(too_far, too_close, beta, batch)
        positive, negative = batch.masks()
        too_far, too_close = too_far.masked_fill(~positive, 0.0), too_close.masked_fill(~negative, 0.0)
        as_positive, as_negative = negative.sum(dim=1), positive.sum(dim=1)  # (B,) triplets that a pair stands in
        triplets = as_positive * as_negative
        above = too_far.count_nonzero(dim=1) * as_positive + too_close.count_nonzero(dim=1) * as_negative
        total = too_far.sum(dim=1) * as_positive + too_close.sum(dim=1) * as_negative
        return self.with_cost(Sums(total.sum(), triplets.sum(), above.sum(), above.sum()), (beta * triplets).sum())

    def listed(self, too_far: Tensor, too_close: Tensor, beta: Tensor, batch: PairInputs) -> dict[str, LossTerm]:
        """Triplet by triplet."""
        if batch.indices_tuple is None:
            anchors, positives, negatives = batch.all_triplets()
        else:
            anchors, positives, negatives = to_triplets(batch.indices_tuple)
        far, close = too_far[anchors, positives], too_close[anchors, negatives]
        above = far.count_nonzero() + close.count_nonzero()
        if self.reducer.needs_items:
            hinges = Items(far + close, anchors, batch.labels, above)
            if not self.has_cost:
                return {"margin_loss": hinges}
            if len(self.beta) > 1:
                return {"margin_loss": hinges, "beta_reg_loss": hinges._replace(losses=self.nu * beta[anchors])}
            return {"margin_loss": hinges, "beta_reg_loss": self.nu * self.beta[: len(anchors)]}
        count = torch.tensor(len(anchors), device=far.device)
        return self.with_cost(Sums(far.sum() + close.sum(), count, above, above), beta[anchors].sum())

    def with_cost(self, hinges: Sums, summed_beta: Tensor) -> dict[str, LossTerm]:
        if not self.has_cost:
            return {"margin_loss": hinges}
        if len(self.beta) > 1:
            return {"margin_loss": hinges, "beta_reg_loss": hinges._replace(total=self.nu * summed_beta)}
        any_triplet = (hinges.count > 0).to(summed_beta.dtype)
        return {"margin_loss": hinges, "beta_reg_loss": self.nu * self.beta * any_triplet}

    @property
    def has_cost(self) -> bool:
        return self.learn_beta and self.nu > 0

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Either side of the boundary; of the mean one where there are several."""
        lp = isinstance(self.distance, LpDistance) and self.distance.normalize_embeddings
        if not lp or self.distance.p != 2 or self.distance.power != 1:
            return ()
        beta = float(self.beta.detach().mean())
        return (
            MarginLine("Positives rest inside", "pairs", "fixed", angle_of_distance(beta - self.margin)),
            MarginLine("Negatives rest outside", "pairs", "fixed", angle_of_distance(beta + self.margin)),
        )
