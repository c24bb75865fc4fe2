"""Instance loss: every image, with all that shows the same thing, is a class of its own."""

from __future__ import annotations

from typing import Annotated, Unpack

from mlcore.declare import Knob
from mlcore.losses.proxy_loss import ProxyLoss, ProxyOptions
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "instance",
    title="Instance",
    family="proxy",
    formula=r"-\log\frac{e^{\gamma\cos\theta_y}}{\sum_j e^{\gamma\cos\theta_j}}",
    paper="Zheng et al., ACM TOMM 2020, arXiv:1711.05535",
    aliases=("InstanceLoss (pytorch-metric-learning)", "dual-path instance loss"),
)
class InstanceLoss(ProxyLoss):
    """A softmax over instances: an image and its captions, or all views of one image, share a proxy.

    Both sides of a pair of streams go through the same proxies: join their embeddings into one batch, with the number
    of the instance as label. Lengths do not count here; in the paper they do, and gamma is 1. pytorch-metric-learning
    has no proxies: it compares the batch with itself and takes a class's rank among the labels for a position in the
    batch, which is not the paper's loss.

    What to expect: Good for starting two streams before a loss on pairs takes over. With as many classes as instances
    it wants `sample_rate`.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        gamma: Annotated[
            float, Knob("Sharpness of the softmax.", 1.0, 256.0, symbol=r"\gamma", log=True, title="Scale")
        ] = 64.0,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, gamma, **rest)
