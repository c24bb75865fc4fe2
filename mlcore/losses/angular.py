"""Angular loss: bounds the angle at the negative of the triangle of anchor, positive and negative."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_unit_euclidean
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, MeanReducer, Reduced, Reducer

SINGLE_SPAN = 60.0  # exponents this far apart still add up in float32
ALPHA = Knob("Largest angle at the negative.", 0.0, 1.4, unit="rad", symbol=r"\alpha", title="Angle")


@LOSSES.add(
    "angular",
    title="Angular",
    family="triplet",
    formula=(
        r"\log\Big(1+\sum_{n}e^{f_n}\Big),\quad "
        r"f_n=4\tan^2\!\alpha\,(\hat a+\hat p)\cdot\hat n-2(1+\tan^2\!\alpha)\,\hat a\cdot\hat p"
    ),
    paper="Wang et al., ICCV 2017, arXiv:1708.01682, section 3",
    aliases=("AngularLoss (pytorch-metric-learning)",),
)
class AngularLoss(nn.Module):
    """Pushes each negative away from the middle of anchor and positive until it sees the two under a small angle.

    An angle does not depend on the size of the triangle, so the bound holds for tight and for loose classes alike. All
    three embeddings are scaled to length 1, as the paper says; pytorch-metric-learning leaves negatives as they are.
    Given tuples name the negatives too, where pytorch-metric-learning takes all of other classes in the batch. The
    sum over negatives is a product of two matrices of exponentials, so no triplet is written down.

    What to expect: An addition to another loss more than a loss of its own (the authors join it with N-pairs, which is
    the angular N-pairs loss here). The sum never ends: well placed negatives still cost a little.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over the positive pairs; one without negatives counts as 0. A repeated pair counts once.
    Raises: ValueError for a distance other than that of unit vectors.
    """

    fitting_distances = ("lp",)

    def __init__(
        self,
        *,
        alpha: Annotated[float, ALPHA] = 0.7,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.distance = require_unit_euclidean(self, distance)
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
        """Return the mean loss over the positive pairs, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        positive, negative = batch.masks()
        unit = F.normalize(batch.embeddings)
        reference = unit if batch.ref_emb is None else F.normalize(batch.ref_emb)
        cosines = unit @ reference.T  # (B, N)
        among = cosines if batch.ref_emb is None else reference @ reference.T  # (N, N)
        square = math.tan(self.alpha) ** 2
        anchors, positives = positive.nonzero(as_tuple=True)
        crowd = log_sum_products(4.0 * square * cosines, 4.0 * square * among, negative, 16.0 * square)
        exponent = crowd[anchors, positives] - 2.0 * (1.0 + square) * cosines[anchors, positives]
        losses = F.softplus(exponent).masked_fill(~negative.any(dim=1)[anchors], 0.0)
        return self.reducer({"loss": Items(losses, anchors, batch.labels)}, batch.embeddings)


def log_sum_products(left: Tensor, right: Tensor, keep: Tensor, span: float) -> Tensor:
    """(B, P): log of the sum over n, where kept, of exp(left[b, n] + right[p, n]).

    Shapes: left and keep (B, N), right (P, N). `span` bounds how far below its largest a summand can lie, which decides
    between float32 and float64. A row that keeps none has a large negative number and no gradient.
    """
    given = left.dtype
    dtype = given if span < SINGLE_SPAN else torch.float64
    left, right = left.to(dtype), right.to(dtype)
    with torch.no_grad():
        top = left.masked_fill(~keep, torch.finfo(dtype).min).amax(dim=1, keepdim=True)
        other_top = right.amax(dim=1)
    factors = (left - top).masked_fill(~keep, -torch.inf).exp()
    total = factors @ (right - other_top[:, None]).exp().T
    return (total.clamp_min(torch.finfo(dtype).tiny).log() + top + other_top).to(given)
