"""P2SGrad: a loss whose gradient is the probability's place taken by the similarity itself."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from mlcore.distances import at_length_one
from mlcore.losses.proxy_loss import ProxyBatch, ProxyLoss, ProxyOptions, nearest_products
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "p2s_grad",
    title="P2SGrad",
    family="proxy",
    formula=r"\tfrac12\sum_j(\cos\theta_j-[j=y])^2",
    paper="Zhang et al., CVPR 2019, arXiv:1905.02479",
    aliases=("P2SGradLoss (pytorch-metric-learning)",),
    renamed={"descriptors_dim": "embedding_size"},
)
class P2SGradLoss(ProxyLoss):
    """Moves each embedding by how far its cosines are from 1 to its own proxy and 0 to the others; nothing to set.

    The paper gives the gradient; this is the loss it belongs to: half a sum over the classes. pytorch-metric-learning
    averages over the classes too, which makes its value, and the step, 2 / C of this. It also writes over its proxies
    to keep their length 1; here they are normalised in passing. The order of its sizes is (embedding_size,
    num_classes), as in pytorch-metric-learning, which calls the first descriptors_dim; that name is taken too.

    Of the arguments that proxy losses share, soft labels and label smoothing take the place of 1 and 0 as what the
    cosines should be, and under `sample_rate` the sum is over the sampled classes. There is no probability that focal
    weights could go by, and no other distance than the cosine.

    What to expect: Steady and slow, with no scale and no margin to search for. Proxies come to rest at right angles, so
    it needs at least as many dimensions as classes to reach 0.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample (pytorch-metric-learning refuses them). What the other arguments do:
    losses/proxy_loss.py.
    """

    sets_itself = ("focal_gamma", "distance")

    def __init__(self, embedding_size: int, num_classes: int, **rest: Unpack[ProxyOptions]) -> None:
        super().__init__(num_classes, embedding_size, 1.0, **rest)

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        cosines = nearest_products(at_length_one(batch.embeddings), at_length_one(proxies))  # (B, S)
        if batch.labels is not None and self.label_smoothing == 0:
            minus_one = cosines.new_full((len(cosines), 1), -1.0)
            losses = 0.5 * cosines.scatter_add_(1, batch.labels[:, None], minus_one).square().sum(dim=1)
        else:
            wanted = (1.0 - self.label_smoothing) * batch.column_shares(cosines)
            wanted = wanted + self.label_smoothing / cosines.shape[1]
            losses = 0.5 * (cosines - wanted).square().sum(dim=1)
        if self.class_weights is None:
            return losses
        weights = batch.own_columns(self.class_weights)
        return losses * (batch.shares @ weights if batch.labels is None else weights[batch.labels])
