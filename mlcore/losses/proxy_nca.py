"""ProxyNCA: each embedding should be nearer to its own class's proxy than to all others, by squared distance."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import DISTANCES, Distance, LpDistance
from mlcore.losses.proxy_loss import ProxyBatch, ProxyLoss, ProxyOptions, nearest_of_class
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "proxy_nca",
    title="ProxyNCA",
    family="proxy",
    formula=(
        r"-\log\frac{e^{-\sigma\lVert\hat x-\hat w_y\rVert^2}}"
        r"{\sum_{j[\ne y]}e^{-\sigma\lVert\hat x-\hat w_j\rVert^2}}"
    ),
    paper="Movshovitz-Attias et al., ICCV 2017, arXiv:1703.07464",
    aliases=("ProxyNCALoss (pytorch-metric-learning)",),
)
class ProxyNCALoss(ProxyLoss):
    """Neighbourhood components analysis with class proxies in the place of neighbours.

    In the paper the true class is left out of the sum below the line (`exclude_positive`): the loss then falls below 0
    and never stops pulling. The authors' code and pytorch-metric-learning leave it in, which makes it a softmax over
    cosines of scale 2 sigma. Another `distance` takes the place of the squared one; pytorch-metric-learning's
    `get_logits` gives distances, ours are what the softmax sees.

    What to expect: At the default sigma of 1 very gentle, the squared distance being at most 4: raise it to 9 (as in
    ProxyNCA++) or more to separate classes. Proxies want a learning rate far above the model's.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    fitting_distances = tuple(DISTANCES)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        softmax_scale: Annotated[
            float, Knob("Multiplies the squared distances.", 0.1, 128.0, symbol=r"\sigma", log=True)
        ] = 1.0,
        exclude_positive: Annotated[
            bool, Knob("Leave the true class out of the sum below the line, as in the paper.")
        ] = False,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, softmax_scale, **rest)
        self.exclude_positive = exclude_positive

    def accept_distance(self, distance: Distance | None) -> Distance:
        return distance or LpDistance(power=2)

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        """(B, S) the negative of the distance, or the similarity, to the nearest of each class's proxies, scaled."""
        distance = self.distance
        rows, flat = distance.normalize(embeddings), distance.normalize(proxies.flatten(0, -2))
        if isinstance(distance, LpDistance) and distance.p == 2 and distance.power == 2:
            closeness = 2.0 * rows @ flat.T - rows.square().sum(dim=1, keepdim=True) - flat.square().sum(dim=1)
        else:
            mat = distance(rows, flat)
            closeness = mat if distance.is_inverted else -mat
        return self.scale * nearest_of_class(closeness, proxies)

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        logits = self.logits(batch.embeddings, proxies)
        losses = self.cross_entropy(logits, batch)
        if not self.exclude_positive:
            return losses
        if logits.shape[1] == 1:
            return losses * 0.0
        return losses + self.without_positive(logits, batch)

    def without_positive(self, logits: Tensor, batch: ProxyBatch) -> Tensor:
        """(B,) what the log of the sum loses with the true class; with soft labels the mean by shares."""
        weights = 1.0 if self.class_weights is None else batch.own_columns(self.class_weights)
        total = logits.logsumexp(dim=1)
        if batch.labels is not None:
            least = torch.finfo(logits.dtype).min
            rest = logits.scatter(1, batch.labels[:, None], least).logsumexp(dim=1)
            return (rest - total) * (weights if isinstance(weights, float) else weights[batch.labels])
        at = logits.argmax(dim=1, keepdim=True)
        rest_of_top = logits.scatter(1, at, torch.finfo(logits.dtype).min).logsumexp(dim=1, keepdim=True)
        others = total[:, None] + torch.log1p(-(logits - total[:, None]).exp().scatter(1, at, 0.0))
        rest = others.scatter(1, at, rest_of_top)
        return (batch.shares * weights * (rest - total[:, None])).sum(dim=1)
