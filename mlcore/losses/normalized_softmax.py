"""Normalized softmax: a softmax over the cosines to one proxy per class."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, DotProductSimilarity
from mlcore.losses.door import enter_proxies, full_precision, with_proxies
from mlcore.losses.registry import LOSSES
from mlcore.reducers import MeanReducer, Reducer


@LOSSES.add(
    "normalized_softmax",
    title="Normalized softmax",
    family="proxy",
    formula=r"-\log\frac{e^{\cos\theta_y/T}}{\sum_j e^{\cos\theta_j/T}}",
    paper="Zhai and Wu, BMVC 2019, arXiv:1811.12649, eq. 4",
    names=("NormalizedSoftmaxLoss (pytorch-metric-learning)", "NormFace", "ScaledNormalizedLinear"),
)
class NormalizedSoftmaxLoss(nn.Module):
    """Turns each embedding towards its own class's proxy and away from all others; only directions count.

    A small temperature makes the softmax sharp: cosines span only 2, too little for a softmax to become sure of
    anything. The paper also normalises layers before the loss and samples classes evenly; that is the model's business.

    What to expect: Fast and steady, the first loss to try and the baseline for the margin losses. Without a margin,
    classes are told apart but not packed tightly; the usual mistake is to leave the proxies out of the optimiser.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes). A miner's tuples
    become one weight per sample.
    Raises: ValueError at the door (losses/door.py).
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        temperature: Annotated[
            float,
            Knob(
                "Divides the cosines: small insists on a clear winner, large is lenient.",
                0.01,
                1.0,
                symbol="T",
                log=True,
            ),
        ] = 0.05,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.distance = distance or DotProductSimilarity()
        self.reducer = reducer or MeanReducer()
        self.proxies = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.normal_(self.proxies)
        if not isinstance(self.distance, DotProductSimilarity):
            raise ValueError(
                "NormalizedSoftmaxLoss: distance must be a similarity (DotProductSimilarity or CosineSimilarity); "
                f"got {type(self.distance).__name__}. Leave distance out."
            )

    @full_precision
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Any:
        """Return the mean loss over the batch, a scalar."""
        embeddings, labels, proxies, weights = enter_proxies(self, embeddings, labels, indices_tuple, ref_emb)
        losses = F.cross_entropy(self.logits(embeddings, proxies), labels, reduction="none")
        return self.reducer({"loss": losses if weights is None else losses * weights}, embeddings)

    @full_precision
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): the cosines over the temperature, what the softmax sees."""
        return self.logits(*with_proxies(self, embeddings))

    def logits(self, embeddings: Tensor, proxies: Tensor) -> Tensor:
        return self.distance(embeddings, F.normalize(proxies)) / self.temperature
