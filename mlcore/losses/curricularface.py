"""CurricularFace: ArcFace whose hard negatives count for more as training goes on."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import AngularMargin, MarginSoftmaxLoss, MarginWarmUp, add_angle, sine_from_cosine
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine


@LOSSES.add(
    "curricularface",
    title="CurricularFace",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s\cos(\theta_y+m)}}{e^{s\cos(\theta_y+m)}+\sum_{j\ne y}e^{sN(t,\cos\theta_j)}},\quad "
        r"N(t,c)=\begin{cases}c&c\le\cos(\theta_y+m)\\c(t+c)&\text{else}\end{cases}"
    ),
    paper="Huang et al., CVPR 2020, arXiv:2004.00288",
    aliases=("CurricularFace (easy_metric_learning)",),
)
class CurricularFaceLoss(MarginSoftmaxLoss):
    """ArcFace that first goes easy on the negatives it gets wrong and then presses on them.

    A negative closer than the own proxy with its margin has its cosine multiplied by t plus itself. t, the running mean
    of the cosine to the own proxy, starts at 0 and rises as training succeeds: it is saved with the loss, is updated in
    training before it is used, and stands still in eval(). A negative is hard by cos(angle + margin) as it stands,
    also past a half turn, as in the authors' code.

    What to expect: Starts softer than ArcFace and ends sharper; try it where ArcFace does not get going.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    margin_in_radians = True
    needs_every_cosine = True
    blends = True
    tracks_batches = "t follows every training batch"
    t: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: AngularMargin = 0.5,
        scale: Scale = 64.0,
        momentum: Annotated[float, Knob("Share of the old t that is kept in each training step.", 0.0, 1.0)] = 0.99,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, margin, scale, trainable_scale, margin_warm_up_steps, class_margins, **rest
        )
        self.momentum = momentum
        self.register_buffer("t", torch.zeros(()))

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        return add_angle(cosine, margin)

    def negatives(self, cosines: Tensor, target: Tensor, batch: ProxyBatch) -> Tensor:
        own, margin = own_cosine(cosines, batch), self.margins(batch)
        if self.training:
            self.t.lerp_(own.detach().mean().to(self.t), 1.0 - self.momentum)
        if batch.labels is None and margin.ndim:
            margin = (batch.shares * margin).sum(dim=1, keepdim=True)
        limit = own * margin.cos() - sine_from_cosine(own) * margin.sin()
        return torch.where(cosines > limit, cosines * (self.t.to(cosines) + cosines), cosines)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy + margin", "proxies", "angle", self.margin),)


def own_cosine(cosines: Tensor, batch: ProxyBatch) -> Tensor:
    """(B, 1) cosine to the own proxy; with soft labels the mean by shares."""
    if batch.labels is None:
        return (batch.shares * cosines).sum(dim=1, keepdim=True)
    return cosines.gather(1, batch.labels[:, None])
