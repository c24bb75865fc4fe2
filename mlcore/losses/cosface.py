"""CosFace: a softmax over class proxies with a margin taken from the true class's cosine."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.door import enter_proxies, full_precision, only_cosine, with_proxies
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine
from mlcore.reducers import MeanReducer, Reducer


@LOSSES.add(
    "cosface",
    title="CosFace",
    family="proxy",
    formula=r"-\log\frac{e^{s(\cos\theta_y-m)}}{e^{s(\cos\theta_y-m)}+\sum_{j\ne y}e^{s\cos\theta_j}}",
    paper="Wang et al., CVPR 2018, arXiv:1801.09414, eq. 4",
    names=("CosFaceLoss (pytorch-metric-learning)", "AM-Softmax", "large margin cosine loss"),
)
class CosFaceLoss(nn.Module):
    """Pulls each embedding to its own class's proxy until its cosine there beats every other by a margin.

    The margin shifts the cosine, not the angle, so it never turns back up: easier to train than ArcFace, and a given
    margin is a wider angle for embeddings that are close to their proxy.

    What to expect: Much like ArcFace, a little more forgiving at the start. A margin above what the number of classes
    allows in few dimensions (in 2-D, ten classes are 36 degrees apart: at most 1 - cos 36 = 0.19) keeps the loss from
    zero.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes). A miner's tuples
    become one weight per sample.
    Raises: ValueError at the door (losses/door.py).
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Annotated[
            float, Knob("Taken from the cosine to the true class.", 0.0, 1.0, unit="cosine", symbol="m")
        ] = 0.35,
        scale: Annotated[
            float, Knob("Sharpness of the softmax: one over its temperature.", 1.0, 256.0, symbol="s", log=True)
        ] = 64.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.distance = only_cosine(self, distance)
        self.reducer = reducer or MeanReducer()
        self.proxies = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.normal_(self.proxies)

    @full_precision
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Any:
        """Return the mean loss over the batch, a scalar."""
        embeddings, labels, proxies, weights = enter_proxies(self, embeddings, labels, indices_tuple, ref_emb)
        cosines = self.distance(embeddings, proxies)  # (B, C)
        target = cosines.gather(1, labels[:, None])  # (B, 1)
        logits = self.scale * cosines.scatter(1, labels[:, None], target - self.margin)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return self.reducer({"loss": losses if weights is None else losses * weights}, embeddings)

    @full_precision
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): the scaled cosines without margin, for telling the class of a new embedding."""
        return self.scale * self.distance(*with_proxies(self, embeddings))

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy - margin in cosine", "proxies", "cosine", self.margin),)
