"""CircleLoss at class level: each logit is weighted by how far it is from where it should be."""

from __future__ import annotations

import math
from typing import Annotated, Unpack

from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import MarginSoftmaxLoss, MarginWarmUp
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine


@LOSSES.add(
    "circle_cl",
    title="Circle (class level)",
    family="proxy",
    formula=(
        r"-\log\frac{e^{\gamma[1+m-c_y]_+(c_y-1+m)}}{e^{\gamma[1+m-c_y]_+(c_y-1+m)}"
        r"+\sum_{j\ne y}e^{\gamma[c_j+m]_+(c_j-m)}},\quad c_j=\cos\theta_j"
    ),
    paper="Sun et al., CVPR 2020, arXiv:2002.10857",
    aliases=("CircleLossCL (tf-simple-metric-learning)", "circle loss with class labels"),
)
class CircleLossCL(MarginSoftmaxLoss):
    """Pulls the own proxy and pushes each other one with a strength that grows with how badly each is placed.

    The strengths are weights, not terms: as in the paper they pass no gradient (tf-simple-metric-learning lets it
    through). Soft labels mix the two forms of each logit in their shares.

    What to expect: Fast at the start and gentle at the end. gamma is a scale, but weighted: 256 is right for proxies.
    Its target is a cosine above 1 - m to the own proxy and below m to others.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    needs_every_cosine = True
    blends = True
    detached = "the weights of the logits pass no gradient"

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Annotated[
            float, Knob("How much slack: own cosine above 1 - m, others below m.", 0.0, 1.0, unit="cosine", symbol="m")
        ] = 0.25,
        gamma: Annotated[
            float, Knob("Scale of the weighted logits.", 1.0, 512.0, symbol=r"\gamma", log=True, title="Scale")
        ] = 256.0,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, gamma, False, margin_warm_up_steps, class_margins, **rest)

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        return (1.0 + margin - cosine.detach()).clamp_min(0.0) * (cosine - (1.0 - margin))

    def negatives(self, cosines: Tensor, target: Tensor, batch: ProxyBatch) -> Tensor:
        margin = self.margins(batch)
        return (cosines.detach() + margin).clamp_min(0.0) * (cosines - margin)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """The own proxy rests to the left of the first, others to the right of the second."""
        return (
            MarginLine("Own proxy rests inside", "proxies", "fixed", math.acos(1.0 - self.margin)),
            MarginLine("Other proxies rest outside", "proxies", "fixed", math.acos(self.margin)),
        )
