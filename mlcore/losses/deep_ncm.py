"""DeepNCM: classes are the running means of their own embeddings."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcore.declare import Knob
from mlcore.losses.proxy_loss import ProxyBatch, ProxyLoss, ProxyOptions, Scale
from mlcore.losses.registry import LOSSES


@LOSSES.add(
    "deep_ncm",
    title="Deep nearest class mean",
    family="proxy",
    formula=(
        r"-\log\frac{e^{s\cos(x,\mu_y)}}{\sum_j e^{s\cos(x,\mu_j)}},\quad"
        r"\mu_c\leftarrow\alpha\mu_c+(1-\alpha)\operatorname{mean}_{y_i=c}x_i"
    ),
    paper="Guerriero et al., ICLR 2018 workshop, DeepNCM: Deep Nearest Class Mean Classifiers",
    aliases=("DeepNCM (metric-learning-layers)",),
)
class DeepNCMLoss(ProxyLoss):
    """A softmax over the cosines to class means; the means are tracked, not learned.

    In a training step the means of the batch's classes are updated before they are used, and pass no gradient. A
    class's mean is that of its first batch when it is first seen, and a random direction until then;
    metric-learning-layers starts from zeros and uses the means before their update, which gives no gradient at first.
    The paper compares by half the negative squared distance (`euclidean`), metric-learning-layers by the cosine.

    What to expect: No proxies to train and new classes are easy to add; learns more slowly than losses with proxies,
    since means only follow. With many classes per batch size they lag behind.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/proxy_loss.py.
    """

    tracks_batches = "class means follow every training batch"
    sets_itself = ("sub_centers", "weight_init_func", "distance")
    seen: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        alpha: Annotated[
            float,
            Knob("Share of the old mean that is kept.", 0.0, 1.0, symbol=r"\alpha", title="Share of the old mean"),
        ] = 0.9,
        scale: Scale = None,
        euclidean: Annotated[bool, Knob("Compare by half the squared distance instead of the scaled cosine.")] = False,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, scale, **rest)
        self.alpha = alpha
        self.euclidean = euclidean
        start = self.proxies.detach()
        del self.proxies
        self.register_buffer("proxies", start)
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    def draw_classes(self, embeddings: Tensor, labels: Tensor, weights: Tensor | None = None) -> ProxyBatch:
        """The batch, once the means have learned of it."""
        if self.training:
            with torch.no_grad():
                self.update_means(embeddings.detach().to(self.proxies.dtype), labels)
        return super().draw_classes(embeddings, labels, weights)

    def update_means(self, embeddings: Tensor, labels: Tensor) -> None:
        if labels.ndim == 2:
            shares = labels.to(embeddings)
            counts, sums = shares.sum(dim=0), shares.T @ embeddings
        else:
            counts = torch.bincount(labels, minlength=self.num_classes).to(embeddings)
            sums = torch.zeros_like(self.proxies).index_add_(0, labels, embeddings)
        present = counts > 0
        means = sums[present] / counts[present, None]
        kept = torch.where(self.seen[present], self.alpha, 0.0).to(means)[:, None]
        self.proxies[present] = kept * self.proxies[present] + (1.0 - kept) * means
        self.seen |= present

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        if not self.euclidean:
            return self.scale * F.normalize(embeddings) @ F.normalize(proxies).T
        return embeddings @ proxies.T - 0.5 * embeddings.square().sum(1, keepdim=True) - 0.5 * proxies.square().sum(1)
