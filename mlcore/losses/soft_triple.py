"""SoftTriple: several proxies per class that share each embedding softly."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
from torch import Tensor, nn

from mlcore.autograd_context import SavedTensors
from mlcore.declare import Knob
from mlcore.distances import at_length_one
from mlcore.losses.margin_softmax import MarginSoftmaxLoss
from mlcore.losses.proxy_loss import ProxyBatch, ProxyOptionsButSubCenters
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine
from mlcore.reducers import LossTerm

BLOCK = 2**20  # entries of a block: near a processor's cache, yet few enough that threads seldom wait for each other


@LOSSES.add(
    "soft_triple",
    title="SoftTriple",
    family="proxy",
    formula=(
        r"-\log\frac{e^{\lambda(S_y-\delta)}}{e^{\lambda(S_y-\delta)}+\sum_{j\ne y}e^{\lambda S_j}}"
        r"+\frac{\tau}{CK(K-1)}\sum_c\sum_{t<s}\lVert\hat w_{ct}-\hat w_{cs}\rVert,\quad "
        r"S_c=\sum_k\frac{e^{c_{ck}/\gamma}}{\sum_l e^{c_{cl}/\gamma}}c_{ck},\ c_{ck}=\hat w_{ck}\cdot\hat x"
    ),
    paper="Qian et al., ICCV 2019, arXiv:1909.05235",
    aliases=("SoftTripleLoss (pytorch-metric-learning)",),
)
class SoftTripleLoss(MarginSoftmaxLoss):
    """A softmax over classes that have several proxies each, an embedding counting most to those it is near.

    tau draws a class's spare proxies together, so that it keeps only as many as it needs; the paper uses 0.2.
    pytorch-metric-learning leaves that term to a regulariser, so here it is off unless set. The similarities to all
    proxies are kept once for the gradient; their softmax is made anew, block by block.

    What to expect: For classes with several looks. Like normalized softmax where classes have one; many proxies per
    class cost time and memory in proportion.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    miner's tuples become one weight per sample. What the other arguments do: losses/margin_softmax.py.
    The proxies are (C, K, D).
    """

    sets_itself = ("sub_centers",)
    needs_every_cosine = True
    splits_classes = "embeddings of one class may gather at several proxies"

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        centers_per_class: Annotated[int, Knob("Proxies of each class.", 1, 64, symbol="K")] = 10,
        la: Annotated[
            float,
            Knob("Sharpness of the softmax over classes.", 1.0, 256.0, symbol=r"\lambda", log=True, title="Scale"),
        ] = 20.0,
        gamma: Annotated[
            float,
            Knob(
                "How softly a class's proxies share an embedding; near 0 only the nearest counts.",
                0.001,
                10.0,
                symbol=r"\gamma",
                log=True,
                title="Softness",
            ),
        ] = 0.1,
        margin: Annotated[
            float, Knob("Taken from the similarity to the true class.", 0.0, 1.0, unit="cosine", symbol=r"\delta")
        ] = 0.01,
        tau: Annotated[
            float,
            Knob(
                "How much a class's proxies are drawn together.", 0.0, 10.0, symbol=r"\tau", title="Pull among proxies"
            ),
        ] = 0.0,
        **rest: Unpack[ProxyOptionsButSubCenters],
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, la, sub_centers=centers_per_class, **rest)
        self.gamma = gamma
        self.tau = tau
        if centers_per_class > 1:  # in memory the same order as in `cosines`, so that nothing is copied
            self.proxies = nn.Parameter(self.proxies.detach().transpose(0, 1).contiguous().transpose(0, 1))

    def target(self, cosine: Tensor, margin: Tensor, batch: ProxyBatch) -> Tensor:
        return cosine - margin

    def cosines(self, rows: Tensor, columns: Tensor) -> Tensor:
        if columns.ndim == 2:
            return rows @ columns.T
        by_center = columns.transpose(0, 1)  # (K, S, D): the softmax over K then runs along whole rows of classes
        products = (rows / self.gamma) @ by_center.flatten(0, 1).T
        return self.gamma * SoftAssignment.apply(products.unflatten(1, by_center.shape[:2]))

    def loss_terms(self, batch: ProxyBatch, proxies: Tensor) -> dict[str, LossTerm]:
        terms = super().loss_terms(batch, proxies)
        if self.tau > 0 and self.proxies.ndim == 3:
            spread = 0.5 * self.tau * self.center_spread(batch.embeddings)
            terms["center_loss"] = batch.weighted_rows(spread.expand(len(batch.embeddings)))
        return terms

    def center_spread(self, like: Tensor) -> Tensor:
        """The mean distance between proxies of one class, of all classes."""
        unit = at_length_one(self.proxies.to(like))
        t, s = torch.triu_indices(unit.shape[1], unit.shape[1], offset=1, device=unit.device)
        return ((unit @ unit.mT)[:, t, s] * -2.0 + (2.0 + 1e-5)).clamp_min(1e-5).sqrt().mean()

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the next class must lie beyond, for a typical embedding to count as right."""
        return (MarginLine("Own proxy - margin in cosine", "proxies", "cosine", self.margin),)


class SoftAssignment(torch.autograd.Function):
    """(B, K, S) to (B, S): the mean over K, weighted by the softmax over K."""

    @staticmethod
    def forward(ctx: SavedTensors, products: Tensor) -> Tensor:
        means = products.new_empty(products.shape[0], products.shape[2])
        for at in row_blocks(products):
            block = products[at]
            torch.sum(block.softmax(dim=1).mul_(block), dim=1, out=means[at])
        ctx.save_for_backward(products, means)
        return means

    @staticmethod
    def backward(ctx: SavedTensors, upstream: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("SoftTripleLoss has no second derivative. Take the gradient without create_graph.")
        products, means = ctx.saved_tensors
        slopes = torch.empty_like(products)
        for at in row_blocks(products):
            away = torch.sub(products[at], (means[at] - 1.0)[:, None], out=slopes[at])
            away.mul_(products[at].softmax(dim=1)).mul_(upstream[at][:, None])
        return slopes


def row_blocks(products: Tensor) -> list[slice]:
    rows = max(1, BLOCK // max(1, products[0].numel()))
    return [slice(start, start + rows) for start in range(0, len(products), rows)]
