"""Tuplet margin: one positive against all negatives at once, with some slack for the positive's angle."""

from __future__ import annotations

import math
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_cosine
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine
from mlcore.reducers import Items, MeanReducer, Reduced, Reducer


@LOSSES.add(
    "tuplet_margin",
    title="Tuplet margin",
    family="triplet",
    formula=r"\log\Big(1+\sum_{n}e^{s(\cos\theta_{an}-\cos(\theta_{ap}-\beta))}\Big)",
    paper="Yu and Tao, ICCV 2019, Deep Metric Learning with Tuplet Margin Loss",
    aliases=("TupletMarginLoss (pytorch-metric-learning)",),
)
class TupletMarginLoss(nn.Module):
    """Compares each positive with all of the anchor's negatives, and forgives the positive a small angle.

    The slack keeps hard positive pairs, often wrong labels, from ruling the training. The angle is never taken: the
    cosine of a difference needs only the sine, so a pair of identical embeddings has a gradient
    (pytorch-metric-learning gives NaN when rounding puts its cosine above 1).

    What to expect: Fast and steady with a large scale. Positives closer than the slack are pushed out to it, very
    gently; the intra-pair variance loss of the same paper is meant as its companion.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over the positive pairs; one without negatives counts as 0. A repeated pair counts once.
    Raises: ValueError for a distance that is not the cosine.
    """

    fitting_distances = ("cosine",)

    def __init__(
        self,
        *,
        margin: Annotated[
            float, Knob("Angle that positives are forgiven.", 0.0, 1.5, unit="rad", symbol=r"\beta")
        ] = 0.1,
        scale: Annotated[
            float, Knob("How much more the hardest negatives count.", 1.0, 128.0, symbol="s", log=True)
        ] = 64.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
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
        """Return the mean loss over the positive pairs, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        negatives = masked_logsumexp(self.scale * mat, negative, dim=1)  # (B,)
        anchors, positives = positive.nonzero(as_tuple=True)
        cosine = mat[anchors, positives]
        sine = (1.0 - cosine.square()).clamp_min(1e-7).sqrt()
        slackened = cosine * math.cos(self.margin) + sine * math.sin(self.margin)
        losses = F.softplus(negatives[anchors] - self.scale * slackened)
        return self.reducer({"loss": Items(losses, anchors, batch.labels)}, batch.embeddings)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where a negative is as near as a typical positive with its slack."""
        return (MarginLine("Positive pair - slack", "pairs", "angle", -self.margin),)
