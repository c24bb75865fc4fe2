"""Proxy anchor: each class's proxy is an anchor that looks at the whole batch."""

from __future__ import annotations

from typing import Annotated, Unpack

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import DISTANCES, CosineSimilarity, Distance
from mlcore.losses.logsumexp import log_one_plus_sum_exp
from mlcore.losses.margin_softmax import MarginWarmUp, column_margins
from mlcore.losses.proxy_loss import ProxyBatch, ProxyLoss, ProxyOptions, check_per_class, nearest_of_class
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import anchor_items
from mlcore.margins import MarginLine, angle_of_cosine
from mlcore.reducers import LossTerm, row_items


@LOSSES.add(
    "proxy_anchor",
    title="Proxy anchor",
    family="proxy",
    formula=(
        r"\frac{1}{|P^+|}\sum_{p\in P^+}\log\Big(1+\sum_{x\in X_p^+}e^{-\alpha(\cos\theta_{xp}-\delta)}\Big)"
        r"+\frac{1}{|P|}\sum_{p\in P}\log\Big(1+\sum_{x\in X_p^-}e^{\alpha(\cos\theta_{xp}+\delta)}\Big)"
    ),
    paper="Kim et al., CVPR 2020, arXiv:2003.13911",
    aliases=("ProxyAnchorLoss (pytorch-metric-learning)",),
)
class ProxyAnchorLoss(ProxyLoss):
    """Lets each class's proxy pull its own embeddings in and push all others out, the worst placed ones hardest.

    The log of a sum makes samples compete: the farther a positive lies than the others of its class, the larger its
    share of the pull. A weight from a miner multiplies the sample's term in the sum (its log is added to the exponent);
    pytorch-metric-learning adds the weight minus 1 instead. Without a miner both are the paper's loss. So does a soft
    label: with a share of a class the sample stands in that share among its positives, in the rest among the negatives.

    Of the arguments that proxy losses share, a class weight multiplies both terms of the class's proxy, and under
    `sample_rate` only the sampled proxies push, the mean being over them. Label smoothing and focal weights are about
    the probability of a class, which this loss has not.

    What to expect: Learns fast, also with few samples of a class in a batch, and needs no miner and no special sampler.
    It wants a high learning rate for the proxies (the paper: 100 times the model's).

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes), or (B, C) shares. A
    reducer gets one loss per proxy with a positive in the batch (pos_loss), and one per proxy (neg_loss): to it the
    proxies are the anchors. What the other arguments do: losses/proxy_loss.py.
    """

    fitting_distances = tuple(DISTANCES)
    sets_itself = ("label_smoothing", "focal_gamma")
    class_margins: Tensor | None

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
            float,
            Knob(
                "How much harder the worst placed samples are moved.",
                1.0,
                128.0,
                symbol=r"\alpha",
                log=True,
                title="Sharpness",
            ),
        ] = 32.0,
        margin_warm_up_steps: MarginWarmUp = 0,
        class_margins: Tensor | None = None,
        **rest: Unpack[ProxyOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, alpha, **rest)
        self.margin = margin
        self.alpha = alpha
        self.margin_warm_up_steps = margin_warm_up_steps
        self.register_buffer("class_margins", check_per_class(self, "class_margins", class_margins, 0.5))
        if margin_warm_up_steps > 0:
            self.count_steps()

    def loss_terms(self, batch: ProxyBatch, proxies: Tensor) -> dict[str, LossTerm]:
        closeness = self.closeness(batch.embeddings, proxies)  # (B, S)
        margin = column_margins(self, batch)
        margin = margin if self.distance.is_inverted else -margin
        pull, push = self.alpha * (margin - closeness), self.alpha * (closeness + margin)
        if batch.shares is None:
            positive = torch.zeros_like(closeness, dtype=torch.bool).scatter_(1, batch.labels[:, None], True)
            negative = ~positive
        else:
            positive, negative = batch.shares > 0, batch.shares < 1
            pull = pull + torch.where(positive, batch.shares, 1.0).log()
            push = push + torch.where(negative, 1.0 - batch.shares, 1.0).log()
        if (weights := batch.weights) is not None:
            asked = (weights > 0)[:, None]
            positive, negative = positive & asked, negative & asked
            shift = torch.where(asked, weights[:, None], 1.0).log()
            pull, push = pull + shift, push + shift
        pos_losses = log_one_plus_sum_exp(pull, positive, dim=0)  # (S,)
        neg_losses = log_one_plus_sum_exp(push, negative, dim=0)
        classes = torch.arange(len(proxies), device=proxies.device) if batch.classes is None else batch.classes
        if self.class_weights is not None:
            of_class = batch.own_columns(self.class_weights)
            pos_losses, neg_losses = of_class * pos_losses, of_class * neg_losses
        return {
            "pos_loss": anchor_items(pos_losses, positive.any(dim=0), classes),
            "neg_loss": row_items(neg_losses, classes),
        }

    def accept_distance(self, distance: Distance | None) -> Distance:
        return distance or CosineSimilarity()

    def init_proxies(self, proxies: Tensor) -> None:
        nn.init.kaiming_normal_(proxies.view(-1, proxies.shape[-1]), mode="fan_out")

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return self.alpha * self.closeness(embeddings, proxies)

    def closeness(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        """(B, S) the similarity, or minus the distance, to the nearest of each class's proxies."""
        mat = self.distance(embeddings, proxies.flatten(0, -2))
        return nearest_of_class(mat if self.distance.is_inverted else -mat, proxies)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Positives are pulled to the left of the first, negatives pushed to the right of the second."""
        if not isinstance(self.distance, CosineSimilarity):
            return ()
        return (
            MarginLine("Positives rest inside", "proxies", "fixed", angle_of_cosine(self.margin)),
            MarginLine("Negatives rest outside", "proxies", "fixed", angle_of_cosine(-self.margin)),
        )
