"""P2SGrad: a loss whose gradient is the probability's place taken by the similarity itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mlcore.distances import CosineSimilarity
from mlcore.losses.door import enter_proxies, full_precision, with_proxies
from mlcore.losses.margin_softmax import at_length_one, require_sizes
from mlcore.losses.registry import LOSSES
from mlcore.reducers import MeanReducer, Reducer


@LOSSES.add(
    "p2s_grad",
    title="P2SGrad",
    family="proxy",
    formula=r"\tfrac12\sum_j(\cos\theta_j-[j=y])^2",
    paper="Zhang et al., CVPR 2019, arXiv:1905.02479, eqs. 9 to 11",
    names=("P2SGradLoss (pytorch-metric-learning)",),
)
class P2SGradLoss(nn.Module):
    """Moves each embedding by how far its cosines are from 1 to its own proxy and 0 to the others; nothing to set.

    The paper gives the gradient; this is the loss it belongs to: half a sum over the classes. pytorch-metric-learning
    averages over the classes too, which makes its value, and the step, 2 / C of this. It also writes over its proxies
    to keep their length 1; here they are normalised in passing. The order of its sizes is (embedding_size,
    num_classes), as in pytorch-metric-learning, which calls the first descriptors_dim.

    What to expect: Steady and slow, with no scale and no margin to search for. Proxies come to rest at right angles, so
    it needs at least as many dimensions as classes to reach 0.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers in [0, num_classes). A miner's tuples
    become one weight per sample (pytorch-metric-learning refuses them).
    Raises: ValueError at the door (losses/door.py).
    """

    def __init__(self, embedding_size: int, num_classes: int, *, reducer: Reducer | None = None) -> None:
        super().__init__()
        require_sizes(self, num_classes, embedding_size)
        self.distance = CosineSimilarity()
        self.reducer = reducer or MeanReducer()
        self.proxies = nn.Parameter(torch.empty(num_classes, embedding_size))
        nn.init.normal_(self.proxies)

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
        cosines = at_length_one(embeddings) @ at_length_one(proxies).T  # (B, C)
        own = cosines.gather(1, labels[:, None]).squeeze(1)
        losses = 0.5 * (cosines.square().sum(dim=1) - 2.0 * own + 1.0)
        return self.reducer({"loss": losses if weights is None else losses * weights}, embeddings)

    @full_precision
    def get_logits(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, C): the cosines."""
        return self.distance(*with_proxies(self, embeddings))
