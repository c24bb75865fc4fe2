"""SigLIP: every pair of two views is a yes-or-no question of its own."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import outside_autocast, require_cosine
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import to_similarity
from mlcore.losses.two_view_inputs import check_views
from mlcore.reducers import MeanReducer, Reduced, Reducer, row_items


@LOSSES.add(
    "siglip",
    title="SigLIP (sigmoid, image and text)",
    family="views",
    formula=r"\sum_p\log\big(1+e^{-(t\,s_{ap}+b)}\big)+\sum_n\log\big(1+e^{t\,s_{an}+b}\big)",
    paper="Zhai et al., ICCV 2023, arXiv:2303.15343, section 3.2",
    aliases=("SigLipLoss (open_clip)", "sigmoid loss for language-image pre-training"),
)
class SigLipLoss(nn.Module):
    """Asks of every pair on its own whether the two belong together, from a learned scale and offset of their cosine.

    No softmax over the batch: pairs do not compete, and a small batch does no harm. The offset starts far below zero,
    since nearly all pairs do not belong together.

    What to expect: For two encoders, such as images and texts, it does well with moderate batches. With labels and no
    second view, images of one class belong together. The sum over a row grows with the batch. Save the loss with the
    model, since scale (`logit_scale`, its log) and offset (`logit_bias`) are learned.

    Shapes: embeddings (B, D) float, not normalised. With ref_emb (B, D) alone row i is the other view of row i; with
    labels (B,) and ref_labels (N,), or labels alone, rows of one label belong together. A reducer gets one loss per
    row. Where tuples are given, only their pairs are asked about.
    """

    fitting_distances = ("cosine",)
    compares_views = "each view is asked about the other"

    def __init__(
        self,
        *,
        scale: Annotated[
            float, Knob("Multiplies the cosines: the value at the start.", 1.0, 100.0, symbol="t", log=True)
        ] = 10.0,
        bias: Annotated[
            float,
            Knob("Added after: the value at the start. Below zero: no is the usual answer.", -20.0, 20.0, symbol="b"),
        ] = -10.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.bias = bias
        self.distance = require_cosine(self, distance)
        self.reducer = reducer or MeanReducer()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(bias)))

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean over the rows of the sum over their pairs, a scalar."""
        batch = check_views(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        cosines = to_similarity(self.distance, batch)  # (B, N)
        positive, negative = batch.masks()
        logits = self.logit_scale.exp().to(cosines.dtype) * cosines + self.logit_bias.to(cosines.dtype)
        losses = F.softplus(torch.where(positive, -logits, logits)).masked_fill(~(positive | negative), 0.0)
        return self.reducer({"loss": row_items(losses.sum(dim=1), batch.labels)}, batch.embeddings)
