"""ElasticFace-Arc: ArcFace with a margin drawn anew for each sample."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import AngularMargin, MarginSoftmaxLoss, MarginWarmUp, add_angle
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine

Sigma = Annotated[
    float,
    Knob(
        "Spread of the drawn margins, in the margin's own unit.",
        0.0,
        0.5,
        symbol=r"\sigma",
        title="Spread of the margin",
    ),
]
Plus = Annotated[
    bool,
    Knob(
        "ElasticFace+: the samples farthest from their proxy get the largest of the drawn margins.",
        title="Largest to the farthest",
    ),
]


@LOSSES.add(
    "elasticface_arc",
    title="ElasticFace-Arc",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s\cos(\theta_y+m_i)}}{e^{s\cos(\theta_y+m_i)}+\sum_{j\ne y}e^{s\cos\theta_j}},"
        r"\quad m_i\sim N(m,\sigma)"
    ),
    paper="Boutros et al., CVPRW 2022, arXiv:2109.09416",
    aliases=("ElasticArcFace (authors, easy_metric_learning)", "ElasticFace-Arc+"),
)
class ElasticFaceArcLoss(MarginSoftmaxLoss):
    """ArcFace whose margin is drawn for each sample from a normal distribution, so that classes may differ in width.

    Draws depend on `seed` and the number of training steps; in eval() the margin is its mean. In the plus variant the
    drawn margins are handed out in order, the largest to the sample with the smallest cosine to its proxy; the
    authors' code means that but applies the inverse of the order.

    What to expect: ArcFace, a little more forgiving. The paper's spread is 0.05, or 0.0175 or 0.025 with plus.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    margin_in_radians = True
    tracks_batches = "margins are drawn anew in every training step"

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: AngularMargin = 0.5,
        std: Sigma = 0.05,
        plus: Plus = False,
        scale: Scale = 64.0,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, margin, scale, trainable_scale, margin_warm_up_steps, class_margins, **rest
        )
        self.count_steps()
        self.std = std
        self.plus = plus

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        if self.training:
            margin = margin + drawn_margins(self.step_generator(), self.std, self.plus, cosine, batch)
        return add_angle(cosine, margin)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond, for a typical embedding with the mean margin to count as right."""
        return (MarginLine("Own proxy + margin", "proxies", "angle", self.margin),)


def drawn_margins(source: torch.Generator, std: float, plus: bool, cosine: Tensor, batch: ProxyBatch) -> Tensor:
    """What each sample's margin has above the mean: (B, 1), or (B, S) by share with soft labels."""
    draws = std * torch.randn(len(cosine), 1, generator=source).to(cosine)
    if plus:
        own = cosine.detach() if batch.shares is None else (batch.shares * cosine.detach()).sum(dim=1, keepdim=True)
        rank = own.argsort(dim=0, descending=True).argsort(dim=0)  # 0 for the sample nearest to its proxy
        draws = draws.sort(dim=0).values.gather(0, rank)
    return draws if batch.shares is None else draws * batch.shares
