"""Normalized softmax: a softmax over the cosines to one proxy per class."""

from __future__ import annotations

from typing import Annotated, Unpack

from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, DotProductSimilarity, at_length_one
from mlcore.losses.proxy_loss import AUTO, ProxyLoss, ProxyOptions, TrainableScale, nearest_products
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "normalized_softmax",
    title="Normalized softmax",
    family="proxy",
    formula=r"-\log\frac{e^{\cos\theta_y/T}}{\sum_j e^{\cos\theta_j/T}}",
    paper="Zhai and Wu, BMVC 2019, arXiv:1811.12649",
    aliases=("NormalizedSoftmaxLoss (pytorch-metric-learning)", "NormFace"),
)
class NormalizedSoftmaxLoss(ProxyLoss):
    """Turns each embedding towards its own class's proxy and away from all others; only directions count.

    A small temperature makes the softmax sharp: cosines span only 2, too little for a softmax to become sure of
    anything. The paper also normalises layers before the loss and samples classes evenly; that is the model's business.

    What to expect: Fast and steady, the first loss to try and the baseline for the margin losses. Without a margin,
    classes are told apart but not packed tightly; the usual mistake is to leave the proxies out of the optimiser.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    fitting_distances = ("dot_product", "cosine")

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        temperature: Annotated[
            float | None,
            Knob(
                "Divides the cosines: small insists on a clear winner, large is lenient.",
                0.01,
                1.0,
                symbol="T",
                log=True,
                none=AUTO,
            ),
        ] = 0.05,
        trainable_scale: TrainableScale = False,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        scale = None if temperature is None else 1.0 / temperature
        super().__init__(num_classes, embedding_size, scale, trainable_scale, **rest)

    def accept_distance(self, distance: Distance | None) -> Distance:
        if distance is not None and not isinstance(distance, DotProductSimilarity):
            raise ValueError(
                "NormalizedSoftmaxLoss: distance must be a similarity (DotProductSimilarity or CosineSimilarity); "
                f"got {type(distance).__name__}. Leave distance out."
            )
        return distance or DotProductSimilarity()

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        rows, columns = self.distance.normalize(embeddings), at_length_one(proxies)
        if self.distance.p != 2:
            columns = self.distance.normalize(columns.flatten(0, -2)).view_as(columns)
        if self.distance.power == 1:
            return nearest_products(self.scale * rows, columns)
        return self.scale * nearest_products(rows, columns) ** self.distance.power
