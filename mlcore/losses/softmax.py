"""Softmax: the plain linear classifier, without normalising anything."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from mlcore.losses.proxy_loss import ProxyBatch, ProxyLoss, ProxyOptions, init_at_length_one, nearest_products
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "softmax",
    title="Softmax (linear)",
    family="proxy",
    formula=r"-\log\frac{e^{w_y\cdot x+b_y}}{\sum_j e^{w_j\cdot x+b_j}}",
    paper="Bridle, NIPS 1989, Training stochastic model recognition algorithms as networks",
    aliases=("Softmax (easy_metric_learning)", "cross-entropy", "linear classifier"),
)
class SoftmaxLoss(ProxyLoss):
    """Classifies embeddings by a linear layer, as a classifier's last layer does; lengths and biases count.

    What to expect: The baseline of all proxy losses. It can lower its value by making embeddings longer, which does
    nothing for their directions: by cosine, its embeddings are usually a little worse than normalized softmax's.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    depends_on_length = "a linear classifier is surer of longer embeddings"

    def __init__(self, num_classes: int, embedding_size: int, **rest: Unpack[ProxyOptions]) -> None:
        super().__init__(num_classes, embedding_size, 1.0, **rest)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def init_proxies(self, proxies: Tensor) -> None:
        init_at_length_one(proxies)

    def losses(self, batch: ProxyBatch, proxies: Tensor) -> Tensor:
        logits = nearest_products(batch.embeddings, proxies) + batch.own_columns(self.bias)
        return self.cross_entropy(logits, batch)

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return nearest_products(embeddings, proxies) + self.bias.to(proxies)
