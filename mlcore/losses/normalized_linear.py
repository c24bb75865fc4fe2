"""Normalized linear: the cosines to class proxies times a scale, in a softmax."""

from __future__ import annotations

import math
from typing import Annotated, Unpack

from mlcore.declare import Knob
from mlcore.losses.proxy_loss import ProxyLoss, ProxyOptions, Scale, TrainableScale, auto_scale
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "normalized_linear",
    title="Normalized linear",
    family="proxy",
    formula=r"-\log\frac{e^{s\cos\theta_y}}{\sum_j e^{s\cos\theta_j}},\quad s=\sqrt2\,\ln(C-1)",
    paper="Zhai and Wu, BMVC 2019, arXiv:1811.12649",
    aliases=(
        "NormalizedLinear, ScaledNormalizedLinear, ScaledNormalizedLinearSqrt (metric-learning-layers)",
        "cosine classifier",
    ),
)
class NormalizedLinearLoss(ProxyLoss):
    """Classifies by the cosine to each class's proxy, with a scale that fits the number of classes.

    The same as normalized softmax, set by its scale instead of its temperature.

    What to expect: Gentle. The scale from the number of classes is small (10 classes: 3.1), so even embeddings in
    their place are pulled on; a fixed scale of 20 or a learned one separates classes faster.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        scale: Scale = None,
        trainable_scale: TrainableScale = False,
        times_root_of_size: Annotated[
            bool, Knob("Multiply the scale by the square root of the embedding size.")
        ] = False,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        start = auto_scale(num_classes) if scale is None else scale
        start = start * math.sqrt(embedding_size) if times_root_of_size else start
        super().__init__(num_classes, embedding_size, start, trainable_scale, **rest)
