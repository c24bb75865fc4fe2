"""Large-margin softmax: SphereFace's margin, with proxies that keep their lengths."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from mlcore.losses.margin_softmax import MarginSoftmaxLoss
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptions, init_at_length_one
from mlcore.losses.registry import LOSSES
from mlcore.losses.sphereface import (
    LambdaDecay,
    LambdaEnd,
    LambdaStart,
    LengthScale,
    Multiple,
    anneal_weight,
    mix_multiple_angle,
)


@LOSSES.add(
    "large_margin_softmax",
    title="Large-margin softmax",
    family="proxy",
    formula=(
        r"-\log\frac{e^{\lVert w_y\rVert\lVert x\rVert\psi(\theta_y)}}{e^{\lVert w_y\rVert\lVert x\rVert"
        r"\psi(\theta_y)}+\sum_{j\ne y}e^{w_j\cdot x}},\quad\psi(\theta)=(-1)^k\cos m\theta-2k"
    ),
    paper="Liu et al., ICML 2016, arXiv:1612.02295",
    aliases=("LargeMarginSoftmaxLoss (pytorch-metric-learning)", "L-Softmax"),
)
class LargeMarginSoftmaxLoss(MarginSoftmaxLoss):
    """A linear classifier in which m times the angle to the own proxy must be smaller than to any other.

    The lengths of embeddings and proxies both count. The plain logit is mixed in at the start, as in the paper's
    section 4.2; pytorch-metric-learning has no such weight (set both lambdas to 0 for its values). With sub-centres the
    nearest by angle counts, and the class's length is the mean of its sub-centres'.

    What to expect: Slow to start. Embeddings' lengths run away unless weight decay holds them; SphereFace and ArcFace,
    its successors, are easier.

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

    def init_proxies(self, proxies: Tensor) -> None:
        init_at_length_one(proxies)

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        weight = anneal_weight(self.steps, self.lambda_start, self.lambda_end, self.lambda_decay)
        return mix_multiple_angle(cosine, self.margin, weight)

    def scales(self, embeddings: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
        lengths = proxies.norm(dim=-1)
        of_classes = lengths if lengths.ndim == 1 else lengths.mean(dim=1)
        return self.scale * embeddings.norm(dim=1, keepdim=True), of_classes
