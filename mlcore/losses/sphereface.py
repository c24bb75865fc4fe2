"""SphereFace: the angle to the own proxy counts several times over."""

from __future__ import annotations

import math
from typing import Annotated, Unpack

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.margin_softmax import MarginSoftmaxLoss
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions
from mlcore.losses.registry import LOSSES

Multiple = Annotated[int, Knob("How many times the angle to the own proxy counts.", 1, 8, symbol="m")]
LengthScale = Annotated[float, Knob("Multiplies the logits, beside the embeddings' lengths.", 0.1, 64.0, log=True)]
LambdaStart = Annotated[
    float, Knob("Weight of the loss without margin at the first step; 0 has the full margin at once.", 0.0, 1e5)
]
LambdaEnd = Annotated[float, Knob("Weight of the loss without margin that is kept for good.", 0.0, 1000.0)]
LambdaDecay = Annotated[float, Knob("How fast that weight falls: start / (1 + this x steps).", 0.0, 10.0)]


@LOSSES.add(
    "sphereface",
    title="SphereFace",
    family="proxy",
    formula=(
        r"-\log\frac{e^{\lVert x\rVert\psi(\theta_y)}}{e^{\lVert x\rVert\psi(\theta_y)}"
        r"+\sum_{j\ne y}e^{\lVert x\rVert\cos\theta_j}},\quad\psi(\theta)=(-1)^k\cos m\theta-2k"
    ),
    paper="Liu et al., CVPR 2017, arXiv:1704.08063",
    aliases=("SphereFaceLoss (pytorch-metric-learning)", "A-Softmax", "angular softmax"),
)
class SphereFaceLoss(MarginSoftmaxLoss):
    """Asks that m times the angle to the own proxy be smaller than the angle to any other, by lengthy embeddings.

    The cosine of the multiple is continued downwards over the half turns, so it never rewards a larger angle. From the
    start it hardly trains, so as in the authors' code the plain cosine is mixed in, (lambda cos + psi) / (1 + lambda),
    with a lambda that falls with the training steps; pytorch-metric-learning has no lambda (set both to 0 for its
    values). The embedding's length is its scale.

    What to expect: Slow and delicate compared with ArcFace, which replaced it. Short embeddings mean a flat softmax:
    the model must first learn to make them long. With the full margin from the start (lambdas 0) it may not move.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    depends_on_length = "the length of an embedding is the scale of its logits"
    tracks_batches = "lambda falls with every training step"
    blends = True
    margin: int
    steps: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Multiple = 4,
        scale: LengthScale = 1.0,
        lambda_start: LambdaStart = 1000.0,
        lambda_end: LambdaEnd = 5.0,
        lambda_decay: LambdaDecay = 0.1,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, scale, **rest)
        self.count_steps()
        self.lambda_start = lambda_start
        self.lambda_end = lambda_end
        self.lambda_decay = lambda_decay

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        weight = anneal_weight(self.steps, self.lambda_start, self.lambda_end, self.lambda_decay)
        return mix_multiple_angle(cosine, self.margin, weight)

    def scales(self, embeddings: Tensor, proxies: Tensor) -> tuple[Tensor, None]:
        return self.scale * embeddings.norm(dim=1, keepdim=True), None


def anneal_weight(steps: Tensor, start: float, end: float, decay: float) -> Tensor:
    """The weight of the loss without margin after so many training steps, a scalar; never below `end`."""
    return (start / (1.0 + decay * steps)).clamp_min(end)


def mix_multiple_angle(cosine: Tensor, multiple: int, weight: Tensor) -> Tensor:
    """The cosine after the margin, mixed with the plain one in proportion to `weight`."""
    weight = weight.to(cosine)
    return (weight * cosine + multiple_angle(cosine, multiple)) / (1.0 + weight)


def multiple_angle(cosine: Tensor, multiple: int) -> Tensor:
    """psi(angle) = (-1)^k cos(m angle) - 2k with k whole half turns in m angle: falls from 1 to 1 - 2m, without a jump.

    cos(m angle) is the Chebyshev polynomial of the cosine, so there is no acos in the gradient.
    """
    before, power = torch.ones_like(cosine), cosine
    for _ in range(int(multiple) - 1):
        before, power = power, 2.0 * cosine * power - before
    with torch.no_grad():
        turns = (cosine.clamp(-1.0, 1.0).acos() * (multiple / math.pi)).floor().clamp_max(int(multiple) - 1)
        sign = 1.0 - 2.0 * (turns % 2)
    return sign * power - 2.0 * turns
