"""ArcFace: a softmax over class proxies with a margin added to the true class's angle."""

from __future__ import annotations

import math
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
    "arcface",
    title="ArcFace",
    family="proxy",
    formula=r"-\log\frac{e^{s\cos(\theta_y+m)}}{e^{s\cos(\theta_y+m)}+\sum_{j\ne y}e^{s\cos\theta_j}}",
    paper="Deng et al., CVPR 2019, arXiv:1801.07698, eq. 3",
    names=("ArcFaceLoss (pytorch-metric-learning, margin in degrees)", "additive angular margin"),
)
class ArcFaceLoss(nn.Module):
    """Pulls each embedding to its own class's proxy until it is closer than to any other by an angular margin.

    Where angle and margin together pass a half turn, the cosine would turn back up and reward the worst errors. There
    the target goes on as cos(angle) - m sin(m), as in the authors' code: still falling, with a step down at the seam.

    What to expect: Tight classes with gaps between them, best with many classes. If the loss stays high and nothing
    moves, the margin is too large for the start: try 0.2 rad or a smaller scale. The margin is in radians
    (0.5 is 28.6 degrees), and the proxies need the optimiser too.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes). A miner's tuples
    become one weight per sample.
    Raises: ValueError at the door (losses/door.py).
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Annotated[float, Knob("Angle added to the true class.", 0.0, 1.5, unit="rad", symbol="m")] = 0.5,
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
        logits = self.scale * cosines.scatter(1, labels[:, None], self.with_margin(target))
        losses = F.cross_entropy(logits, labels, reduction="none")
        return self.reducer({"loss": losses if weights is None else losses * weights}, embeddings)

    def with_margin(self, cosine: Tensor) -> Tensor:
        """cos(angle + margin), written without acos, whose slope is infinite at 0 and pi."""
        square = 1.0 - cosine.square()
        least = torch.finfo(cosine.dtype).eps  # below it the square is rounding, and the root's slope unbounded
        sine = torch.where(square > least, square.clamp_min(least).sqrt(), 0.0)
        shifted = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine - self.margin * math.sin(self.margin)
        return torch.where(cosine >= -math.cos(self.margin), shifted, beyond)

    @full_precision
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): the scaled cosines without margin, for telling the class of a new embedding."""
        return self.scale * self.distance(*with_proxies(self, embeddings))

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy + margin", "proxies", "angle", self.margin),)
