"""Fixed AdaCos: a softmax over cosines whose scale follows from the number of classes."""

from __future__ import annotations

from typing import Unpack

from mlcore.losses.proxy_loss import ProxyLoss, ProxyOptions
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "fixed_adacos",
    title="Fixed AdaCos",
    family="proxy",
    formula=r"-\log\frac{e^{\tilde s\cos\theta_y}}{\sum_j e^{\tilde s\cos\theta_j}},\quad\tilde s=\sqrt2\,\ln(C-1)",
    paper="Zhang et al., CVPR 2019, arXiv:1905.00292",
    aliases=("FixedAdaCos (metric-learning-layers)",),
)
class FixedAdaCosLoss(ProxyLoss):
    """A softmax over cosines with nothing to set: the scale is where the softmax is steepest at a typical angle.

    For fewer than five classes the paper's scale is too small to learn with (for two it is 0); there it is five's.

    What to expect: A sound start with many classes. The scale ignores how far training has come; AdaCos follows it.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    def __init__(self, num_classes: int, embedding_size: int, **rest: Unpack[ProxyOptions]) -> None:
        super().__init__(num_classes, embedding_size, None, **rest)
