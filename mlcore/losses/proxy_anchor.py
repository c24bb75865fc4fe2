"""Proxy anchor: each class's proxy is an anchor that looks at the whole batch."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance
from mlcore.losses.door import enter_proxies, full_precision, with_proxies
from mlcore.losses.lse import log_one_plus_sum_exp
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine, angle_of_cosine
from mlcore.reducers import MeanReducer, Reducer


@LOSSES.add(
    "proxy_anchor",
    title="Proxy anchor",
    family="proxy",
    formula=(
        r"\frac{1}{|P^+|}\sum_{p\in P^+}\log\Big(1+\sum_{x\in X_p^+}e^{-\alpha(\cos\theta_{xp}-\delta)}\Big)"
        r"+\frac{1}{|P|}\sum_{p\in P}\log\Big(1+\sum_{x\in X_p^-}e^{\alpha(\cos\theta_{xp}+\delta)}\Big)"
    ),
    paper="Kim et al., CVPR 2020, arXiv:2003.13911, eq. 4",
    names=("ProxyAnchorLoss (pytorch-metric-learning)",),
)
class ProxyAnchorLoss(nn.Module):
    """Lets each class's proxy pull its own embeddings in and push all others out, the worst placed ones hardest.

    The log of a sum makes samples compete: the farther a positive lies than its class mates, the larger its share of
    the pull. A weight from a miner multiplies the sample's term in the sum (its log is added to the exponent);
    pytorch-metric-learning adds the weight minus 1 instead. Without a miner both are the paper's loss.

    What to expect: Learns fast, also with few samples of a class in a batch, and needs no miner and no special sampler.
    It wants a high learning rate for the proxies (the paper: 100 times the model's).

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes). A reducer gets one
    loss per proxy with a positive in the batch (pos_loss), and one per proxy (neg_loss).
    Raises: ValueError at the door (losses/door.py).
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margin: Annotated[
            float,
            Knob(
                "Positives rest above this cosine to the proxy, negatives below its opposite.",
                0.0,
                0.5,
                unit="cosine",
                symbol=r"\delta",
            ),
        ] = 0.1,
        alpha: Annotated[
            float, Knob("How much harder the worst placed samples are moved.", 1.0, 128.0, symbol=r"\alpha", log=True)
        ] = 32.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.alpha = alpha
        self.distance = distance or CosineSimilarity()
        self.reducer = reducer or MeanReducer()
        self.proxies = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")

    @full_precision
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Any:
        """Return the sum of the two means, a scalar."""
        embeddings, labels, proxies, weights = enter_proxies(self, embeddings, labels, indices_tuple, ref_emb)
        mat = self.distance(embeddings, proxies)  # (B, C)
        positive = torch.zeros_like(mat, dtype=torch.bool).scatter_(1, labels[:, None], True)
        pull = self.alpha * self.distance.margin(mat, torch.full_like(mat, self.margin))
        push = self.alpha * self.distance.margin(torch.full_like(mat, -self.margin), mat)
        negative = ~positive
        if weights is not None:
            asked = (weights > 0)[:, None]
            positive, negative = positive & asked, negative & asked
            shift = torch.where(asked, weights[:, None], 1.0).log()
            pull, push = pull + shift, push + shift
        pos_losses = log_one_plus_sum_exp(pull, positive, dim=0)  # (C,)
        neg_losses = log_one_plus_sum_exp(push, negative, dim=0)
        return self.reducer({"pos_loss": pos_losses[positive.any(dim=0)], "neg_loss": neg_losses}, embeddings)

    @full_precision
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): alpha times the similarity to each proxy (pytorch-metric-learning leaves alpha out)."""
        mat = self.distance(*with_proxies(self, embeddings))
        return self.alpha * (mat if self.distance.is_inverted else -mat)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Positives are pulled to the left of the first, negatives pushed to the right of the second."""
        if not isinstance(self.distance, CosineSimilarity):
            return ()
        return (
            MarginLine("Positives rest inside", "proxies", "fixed", angle_of_cosine(self.margin)),
            MarginLine("Negatives rest outside", "proxies", "fixed", angle_of_cosine(-self.margin)),
        )
