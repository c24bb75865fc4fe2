"""VPL: ArcFace against proxies that carry a part of their class's last embedding."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import AngularMargin, MarginSoftmaxLoss, MarginWarmUp, add_angle
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine


@LOSSES.add(
    "vpl",
    title="VPL (variational prototypes)",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s\cos(\theta_y+m)}}{e^{s\cos(\theta_y+m)}+\sum_{j\ne y}e^{s\cos\theta_j}},\quad"
        r"\theta_j=\angle\big(x,(1-\lambda)\hat w_j+\lambda M_j\big)"
    ),
    paper="Deng et al., CVPR 2021, Variational Prototype Learning for Deep Face Recognition",
    aliases=("VPL", "variational prototype learning"),
)
class VPLLoss(MarginSoftmaxLoss):
    """ArcFace in which each proxy is mixed with the last embedding of its class, so that samples meet samples too.

    The memory M holds each class's last embedding, of length 1 and without gradient, and is used only while it is
    younger than `max_age` training steps and after `start` of them. Until then, and in eval(), this is ArcFace. With
    soft labels an embedding goes to the class of its largest share.

    What to expect: ArcFace at first, a little better on classes with few samples later. `start` counts training steps:
    a short run never comes to it unless it is lowered.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    margin_in_radians = True
    tracks_batches = "the memory follows every training batch"

    steps: Tensor
    memory: Tensor
    remembered_at: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: AngularMargin = 0.5,
        scale: Scale = 64.0,
        memory_share: Annotated[float, Knob("Share of the remembered embedding.", 0.0, 0.9, symbol=r"\lambda")] = 0.15,
        max_age: Annotated[
            int, Knob("Training steps after which a remembered embedding is too old.", 0, 100_000)
        ] = 200,
        start: Annotated[int, Knob("Training steps before the memory is used.", 0, 1_000_000)] = 8000,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, margin, scale, trainable_scale, margin_warm_up_steps, class_margins, **rest
        )
        self.count_steps()
        self.memory_share = memory_share
        self.max_age = max_age
        self.start = start
        self.register_buffer("memory", torch.zeros(num_classes, embedding_size))
        self.register_buffer("remembered_at", torch.full((num_classes,), -1))

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        if not self.training:
            return super().losses(batch, proxies)
        at = slice(None) if batch.classes is None else batch.classes
        known = self.remembered_at[at]
        usable = (known >= 0) & (self.steps - known <= self.max_age) & (self.steps >= self.start)
        share = torch.where(usable, self.memory_share, 0.0).to(proxies)[:, None]
        memory = self.memory[at].to(proxies)
        if proxies.ndim == 3:
            share, memory = share[:, None], memory[:, None]
        losses = super().losses(batch, (1.0 - share) * F.normalize(proxies, dim=-1) + share * memory)
        with torch.no_grad():
            self.remember(batch)
        return losses

    def remember(self, batch: ProxyBatch) -> None:
        labels = batch.shares.argmax(dim=1) if batch.labels is None else batch.labels
        labels = labels if batch.classes is None else batch.classes[labels]
        order = torch.arange(len(labels), device=labels.device)
        last = torch.full_like(self.remembered_at, -1).scatter_reduce_(0, labels, order, "amax")
        present = last >= 0
        self.memory[present] = F.normalize(batch.embeddings.detach())[last[present]].to(self.memory)
        self.remembered_at[present] = self.steps

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        return add_angle(cosine, margin)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy + margin", "proxies", "angle", self.margin),)
