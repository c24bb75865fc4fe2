"""Softmax: the plain linear classifier, without normalising anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mlcore.losses.inputs import match_proxies, outside_autocast
from mlcore.losses.margin_softmax import Batch, MarginSoftmaxLoss, start_at_length_one
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "softmax",
    title="Softmax (linear)",
    family="proxy",
    formula=r"-\log\frac{e^{w_y\cdot x+b_y}}{\sum_j e^{w_j\cdot x+b_j}}",
    paper="Bridle, NIPS 1989, Training stochastic model recognition algorithms as networks",
    names=("Softmax (easy_metric_learning)", "cross-entropy", "linear classifier"),
)
class SoftmaxLoss(MarginSoftmaxLoss):
    """Classifies embeddings by a linear layer, as a classifier's last layer does; lengths and biases count.

    What to expect: The baseline of all proxy losses. It can lower its value by making embeddings longer, which does
    nothing for their directions: by cosine, its embeddings are usually a little worse than normalized softmax's.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    """

    has_margin = False
    depends_on_length = "a linear classifier is surer of longer embeddings"

    def __init__(self, num_classes: int, embedding_size: int, **softmax: Any) -> None:
        super().__init__(num_classes, embedding_size, 0.0, 1.0, **softmax)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def start_proxies(self, proxies: Tensor) -> None:
        start_at_length_one(proxies)

    def losses(self, batch: Batch, proxies: Tensor) -> Tensor:
        bias = self.bias.to(proxies)
        bias = bias if batch.classes is None else bias[batch.classes]
        return self.cross_entropy(self.cosines(batch.embeddings, proxies) + bias, None, batch)

    @outside_autocast
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): w x + b."""
        embeddings, proxies = match_proxies(self, embeddings)
        return self.cosines(embeddings, proxies) + self.bias.to(proxies)
