"""ArcFace: a softmax over class proxies with a margin added to the true class's angle."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from mlcore.losses.margin_softmax import AngularMargin, MarginSoftmaxLoss, MarginWarmUp, add_angle
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine


@LOSSES.add(
    "arcface",
    title="ArcFace",
    family="proxy",
    formula=r"-\log\frac{e^{s\cos(\theta_y+m)}}{e^{s\cos(\theta_y+m)}+\sum_{j\ne y}e^{s\cos\theta_j}}",
    paper="Deng et al., CVPR 2019, arXiv:1801.07698",
    aliases=("ArcFaceLoss (pytorch-metric-learning, margin in degrees)", "additive angular margin"),
)
class ArcFaceLoss(MarginSoftmaxLoss):
    """Pulls each embedding to its own class's proxy until it is closer than to any other by an angular margin.

    Where angle and margin together pass a half turn, the cosine would turn back up and reward the worst errors. There
    the target goes on as cos(angle) - m sin(m), as in the authors' code: still falling, with a step down at the seam.

    What to expect: Tight classes with gaps between them, best with many classes. If the loss stays high and nothing
    moves, the margin is too large for the start: try 0.2 rad or a smaller scale. The margin is in radians
    (0.5 is 28.6 degrees), and the proxies need the optimiser too.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    margin_in_radians = True

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: AngularMargin = 0.5,
        scale: Scale = 64.0,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, margin, scale, trainable_scale, margin_warm_up_steps, class_margins, **rest
        )

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        return add_angle(cosine, margin)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy + margin", "proxies", "angle", self.margin),)
