"""CLIP: each image picks its text out of the batch, and each text its image."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import outside_autocast, require_cosine
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import anchor_items, to_similarity
from mlcore.losses.two_view_inputs import check_views
from mlcore.reducers import Items, MeanReducer, Reduced, Reducer

LARGEST_SCALE = 100.0


@LOSSES.add(
    "clip",
    title="CLIP (image and text)",
    family="views",
    formula=(
        r"-\tfrac12\log\frac{e^{s_{ap}/\tau}}{\sum_i e^{s_{ai}/\tau}}"
        r"-\tfrac12\log\frac{e^{s_{ap}/\tau}}{\sum_j e^{s_{jp}/\tau}}"
    ),
    paper="Radford et al., ICML 2021, arXiv:2103.00020, figure 3",
    aliases=("ClipLoss (open_clip)", "InfoNCE, symmetric", "image-text contrastive"),
)
class ClipLoss(nn.Module):
    """Makes each row find its other view by similarity, and each other view its row: a softmax in both directions.

    The temperature is learned as the log of its inverse (`logit_scale`), which the paper keeps from passing 100. Where
    labels or tuples name several partners of a row, the mean over them is taken, as in SupCon; the paper has one.

    What to expect: Made for two encoders, such as images and texts, with very large batches. With labels and no second
    view it is SupCon with a learned temperature. Leave `logit_scale` out of weight decay, and save it with the model.

    Shapes: embeddings (B, D) float, not normalised. With ref_emb (B, D) alone row i is the other view of row i; with
    labels (B,) and ref_labels (N,), or labels alone, rows of one label belong together. A reducer gets one loss per row
    with a partner (row_loss) and one per other view with a partner (column_loss).
    """

    fitting_distances = ("cosine",)
    compares_views = "each view picks its partner out of the other"

    def __init__(
        self,
        *,
        temperature: Annotated[
            float,
            Knob("Divides the similarities: the value at the start.", 0.01, 1.0, symbol=r"\tau", log=True),
        ] = 0.07,
        learn_temperature: Annotated[bool, Knob("Train the temperature together with the model.")] = True,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.distance = require_cosine(self, distance)
        self.reducer = reducer or MeanReducer()
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean of the two directions, a scalar."""
        batch = check_views(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        cosines = to_similarity(self.distance, batch)  # (B, N)
        positive, negative = batch.masks()
        logits = self.scale().to(cosines.dtype) * cosines
        other_labels = batch.labels if batch.ref_emb is None else batch.ref_labels
        parts = {
            "row_loss": softmax_losses(logits, positive, positive | negative, batch.labels),
            "column_loss": softmax_losses(logits.T, positive.T, (positive | negative).T, other_labels),
        }
        return self.reducer(parts, batch.embeddings)

    def scale(self) -> Tensor:
        """One over the temperature; while training, the parameter itself is kept from passing the largest scale."""
        if self.training:
            with torch.no_grad():
                self.logit_scale.clamp_(max=math.log(LARGEST_SCALE))
        return self.logit_scale.exp()


def softmax_losses(logits: Tensor, positive: Tensor, counted: Tensor, labels: Tensor | None) -> Items:
    """One loss per row with a positive: half the mean over them of minus the log of their share of the row."""
    how_many = positive.sum(dim=1)
    mean_positive = logits.masked_fill(~positive, 0.0).sum(dim=1) / how_many.clamp_min(1)
    return anchor_items(0.5 * (masked_logsumexp(logits, counted, dim=1) - mean_positive), how_many > 0, labels)
