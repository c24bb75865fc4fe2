"""CosFace: a softmax over class proxies with a margin taken from the true class's cosine."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from mlcore.losses.margin_softmax import CosineMargin, MarginSoftmaxLoss, MarginWarmUp
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine


@LOSSES.add(
    "cosface",
    title="CosFace",
    family="proxy",
    formula=r"-\log\frac{e^{s(\cos\theta_y-m)}}{e^{s(\cos\theta_y-m)}+\sum_{j\ne y}e^{s\cos\theta_j}}",
    paper="Wang et al., CVPR 2018, arXiv:1801.09414",
    aliases=("CosFaceLoss (pytorch-metric-learning)", "AM-Softmax", "large margin cosine loss"),
)
class CosFaceLoss(MarginSoftmaxLoss):
    """Pulls each embedding to its own class's proxy until its cosine there beats every other by a margin.

    The margin shifts the cosine, not the angle, so it never turns back up: easier to train than ArcFace, and a given
    margin is a wider angle for embeddings that are close to their proxy.

    What to expect: Much like ArcFace, a little more forgiving at the start. A margin above what the number of classes
    allows in few dimensions (in 2-D, ten classes are 36 degrees apart: at most 1 - cos 36 = 0.19) keeps the loss from
    zero.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: CosineMargin = 0.35,
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
        return cosine - margin

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy - margin in cosine", "proxies", "cosine", self.margin),)
