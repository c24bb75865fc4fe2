"""Combined margin: SphereFace's, ArcFace's and CosFace's margins in one."""

from __future__ import annotations

import math
from typing import Annotated, Unpack

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import MarginSoftmaxLoss, MarginWarmUp, sine_from_cosine
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, Scale, TrainableScale
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine


@LOSSES.add(
    "combined_margin",
    title="Combined margin",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s(\cos(m_1\theta_y+m_2)-m_3)}}{e^{s(\cos(m_1\theta_y+m_2)-m_3)}"
        r"+\sum_{j\ne y}e^{s\cos\theta_j}}"
    ),
    paper="Deng et al., CVPR 2019, arXiv:1801.07698",
    aliases=("CombinedMarginLoss (InsightFace)", "Combined (easy_metric_learning, without m1)", "ArcFace m1 m2 m3"),
)
class CombinedMarginLoss(MarginSoftmaxLoss):
    """Multiplies the angle to the own proxy, adds to it, and takes from its cosine: three margins that can be mixed.

    (1, 0.5, 0) is ArcFace and (1, 0, 0.35) CosFace, exactly. Where m1 angle + m2 passes a half turn the target goes on
    as the cosine less a constant, by ArcFace's rule with pi - (pi - m2) / m1 in the margin's place. The paper suggests
    (0.9, 0.4, 0.15); m1 below 1 widens classes. `class_margins` are shares of all three margins, from 0 to 1.

    What to expect: Between its parents. Each margin alone is a known loss: change one at a time. All three together
    quickly ask for more than the number of classes allows.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    blends = True

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        m1: Annotated[
            float, Knob("Multiplies the angle to the true class.", 0.5, 4.0, symbol="m_1", title="Factor of the angle")
        ] = 1.0,
        m2: Annotated[
            float, Knob("Added to that angle.", 0.0, 1.5, unit="rad", symbol="m_2", title="Added angle")
        ] = 0.5,
        m3: Annotated[
            float, Knob("Taken from its cosine.", 0.0, 1.0, unit="cosine", symbol="m_3", title="Cosine margin")
        ] = 0.0,
        scale: Scale = 64.0,
        trainable_scale: TrainableScale = False,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(
            num_classes, embedding_size, 1.0, scale, trainable_scale, margin_warm_up_steps, class_margins, **rest
        )
        self.m1 = m1
        self.m2 = m2
        self.m3 = m3

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        m1, m2, m3 = 1.0 + (self.m1 - 1.0) * margin, self.m2 * margin, self.m3 * margin
        turned = m2
        if self.m1 != 1:
            turned = (m1 - 1.0) * torch.atan2(sine_from_cosine(cosine), cosine) + m2
        shifted = cosine * turned.cos() - sine_from_cosine(cosine) * turned.sin()
        gap = (math.pi - (math.pi - m2) / m1).clamp_min(0.0)  # from the seam to the opposite of the proxy
        beyond = cosine - torch.maximum(gap * gap.sin(), 1.0 - gap.cos())
        return torch.where(cosine >= -gap.cos(), shifted, beyond) - m3

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next proxy must lie beyond; only where the margin is an angle or a cosine alone."""
        if self.m1 != 1 or (self.m2 > 0 and self.m3 > 0):
            return ()
        if self.m3 > 0:
            return (MarginLine("Own proxy - margin in cosine", "proxies", "cosine", self.m3),)
        return (MarginLine("Own proxy + margin", "proxies", "angle", self.m2),)
