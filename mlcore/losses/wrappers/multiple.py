"""Several losses at once, each with its weight and its miner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mlcore.losses.wrappers.cross_batch_memory import Miner
from mlcore.losses.wrappers.registry import WRAPPERS


@WRAPPERS.add(
    "multiple",
    title="Multiple losses",
    family="wrapper",
    formula=r"\sum_i w_i L_i",
    aliases=("MultipleLosses (pytorch-metric-learning)", "weighted sum"),
)
class MultipleLosses(nn.Module):
    """Adds losses, each times its weight and each with the tuples of its own miner.

    What to expect: Losses differ in size by factors of 10 and more; choose the weights by gradients, not by values.

    Shapes: those of the losses. `losses` is a list or a dict; `miners` (None where a loss has none) and `weights` have
    its shape, where a dict of miners may leave some out.
    Raises: ValueError if they do not fit together, or if an indices_tuple comes while there are miners.
    """

    def __init__(
        self,
        losses: Sequence[nn.Module] | Mapping[str, nn.Module],
        miners: Sequence[Miner | None] | Mapping[str, Miner] | None = None,
        weights: Sequence[float] | Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        named = isinstance(losses, Mapping)
        self.losses = nn.ModuleDict(losses) if named else nn.ModuleList(losses)
        keys = list(losses) if named else list(range(len(losses)))
        if not keys:
            raise ValueError("MultipleLosses: losses must not be empty. Pass a list or a dict of losses.")
        self.weights = dict.fromkeys(keys, 1.0) | by_key("weights", weights, keys, named, all_needed=True)
        self.miners = dict.fromkeys(keys) | by_key("miners", miners, keys, named, all_needed=False)
        self.miner_modules = nn.ModuleList(miner for miner in self.miners.values() if isinstance(miner, nn.Module))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Any:
        """Return the weighted sum, a scalar."""
        if indices_tuple is not None and any(miner is not None for miner in self.miners.values()):
            raise ValueError("MultipleLosses: has miners of its own and takes no indices_tuple. Leave one of them out.")
        total = 0.0
        reference = () if ref_emb is None else (ref_emb, ref_labels)
        for key, weight in self.weights.items():
            miner = self.miners[key]
            tuples = indices_tuple if miner is None else miner(embeddings.detach(), labels, *reference)
            total = total + weight * self.losses[key](embeddings, labels, tuples, *reference)
        return total


def by_key(name: str, values: Any, keys: list[Any], named: bool, all_needed: bool) -> dict[Any, Any]:
    """`values` of a list or a dict by the keys of the losses."""
    if values is None:
        return {}
    if isinstance(values, Mapping) != named:
        raise ValueError(f"MultipleLosses: {name} must be a {'dict' if named else 'list'}, as losses is.")
    found = dict(values) if named else dict(enumerate(values))
    missing = set(keys) - set(found) if all_needed or not named else set()
    if missing or set(found) - set(keys):
        raise ValueError(f"MultipleLosses: {name} must be for {keys}; got {list(found)}. Pass one for each loss.")
    return found
