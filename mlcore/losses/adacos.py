"""AdaCos: a softmax over cosines whose scale follows the training."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor

from mlcore.distances import at_length_one
from mlcore.losses.proxy_loss import ProxyBatch, ProxyLoss, ProxyOptions, auto_scale, nearest_products
from mlcore.losses.registry import LOSSES

LEAST_SCALE = 1.0


@LOSSES.add(
    "adacos",
    title="AdaCos",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s_t\cos\theta_y}}{\sum_j e^{s_t\cos\theta_j}},\quad s_t=\frac{\ln B_t}{\cos(\min(\pi/4,"
        r"\operatorname{med}\theta_y))},\quad B_t=\frac1N\sum_i\sum_{j\ne y_i}e^{s_{t-1}\cos\theta_{ij}}"
    ),
    paper="Zhang et al., CVPR 2019, arXiv:1905.00292",
    aliases=("AdaCos (metric-learning-layers, easy_metric_learning, tf-simple-metric-learning)",),
)
class AdaCosLoss(ProxyLoss):
    """A softmax over cosines that sets its own scale in every training step, from the batch's typical angle.

    The scale falls as embeddings near their proxies, so that the softmax goes on telling them apart. It is used in the
    step that finds it, is saved with the loss and stands still in eval(). The median is over the angles to the own
    proxy and the sum over the other classes, as in the paper; metric-learning-layers and easy_metric_learning take
    the median of all angles. The paper says nothing of few classes, where its scale can fall below 0: here it stays
    above 1. Under soft labels the own angle is the mean by shares, and a class counts among the others by what it
    lacks.

    What to expect: No scale to search for. With few classes the scale is small and the loss gentle; it does not
    ask for a margin.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    tracks_batches = "the scale follows every training batch"
    scale: Tensor

    def __init__(self, num_classes: int, embedding_size: int, **rest: Unpack[ProxyOptions]) -> None:
        super().__init__(num_classes, embedding_size, None, **rest)
        del self.scale
        self.register_buffer("scale", torch.tensor(auto_scale(num_classes)))

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        cosines = nearest_products(at_length_one(batch.embeddings), at_length_one(proxies))
        if self.training:
            self.update_scale(cosines, batch)
        return self.cross_entropy(self.scale * cosines, batch)

    @torch.no_grad()
    def update_scale(self, cosines: Tensor, batch: ProxyBatch) -> None:
        angles = cosines.clamp(-1.0, 1.0).acos()
        if batch.labels is None:
            typical = (batch.shares * angles).sum(dim=1).median()
            others = (1.0 - batch.shares).log()
        else:
            at = batch.labels[:, None]
            typical = angles.gather(1, at).median()
            others = torch.zeros_like(cosines).scatter_(1, at, -math.inf)
        log_sum = (self.scale * cosines + others).flatten().logsumexp(dim=0) - math.log(len(cosines))
        scale = log_sum / typical.clamp_max(math.pi / 4).cos()
        self.scale.copy_(scale.clamp_min(LEAST_SCALE))
