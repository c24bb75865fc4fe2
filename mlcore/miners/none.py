"""No miner: the loss decides."""

from __future__ import annotations

from torch import Tensor

from mlcore.miners.registry import MINERS


@MINERS.add("none", title="None", family="none", aliases=("miner=None (pytorch-metric-learning)",))
class NoMiner:
    """Leaves all pairs and triplets of the batch to the loss.

    What to expect: The right choice for proxy losses, and a fair start for all others.
    """

    def __init__(self) -> None:
        pass

    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> None:
        """Return None, which a loss reads as "all of them"."""
        return
