"""Several losses at once, each with its weight and its miner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor, nn

from mlcore.losses.wrappers.registry import WRAPPERS
from mlcore.tuples import Miner

Key = int | str  # a loss's place in the list, or its name in the dict
Value = TypeVar("Value")


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
        self.losses: nn.ModuleDict | nn.ModuleList
        keys: list[Key]
        if isinstance(losses, Mapping):
            self.losses, keys = nn.ModuleDict(losses), list(losses)
        else:
            self.losses, keys = nn.ModuleList(losses), list(range(len(losses)))
        if not keys:
            raise ValueError("MultipleLosses: losses must not be empty. Pass a list or a dict of losses.")
        named = isinstance(losses, Mapping)
        self.weights = dict.fromkeys(keys, 1.0) | by_key("weights", weights, keys, named, all_needed=True)
        self.miners: dict[Key, Miner | None] = dict.fromkeys(keys)
        self.miners |= by_key("miners", miners, keys, named, all_needed=False)
        self.miner_modules = nn.ModuleList(miner for miner in self.miners.values() if isinstance(miner, nn.Module))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted sum, a scalar."""
        if indices_tuple is not None and any(miner is not None for miner in self.miners.values()):
            raise ValueError("MultipleLosses: has miners of its own and takes no indices_tuple. Leave one of them out.")
        reference = () if ref_emb is None else (ref_emb, ref_labels)
        parts = []
        for loss, weight, miner in zip(self.members(), self.weights.values(), self.miners.values(), strict=True):
            tuples = indices_tuple if miner is None else miner(embeddings.detach(), labels, *reference)
            parts.append(weight * loss(embeddings, labels, tuples, *reference))
        return sum(parts[1:], parts[0])

    def members(self) -> list[nn.Module]:
        """The losses, in the order of their weights."""
        return list(self.losses.values() if isinstance(self.losses, nn.ModuleDict) else self.losses)


def by_key(
    name: str,
    values: Sequence[Value] | Mapping[str, Value] | None,
    keys: list[Key],
    named: bool,
    all_needed: bool,
) -> dict[Key, Value]:
    """`values` of a list or a dict by the keys of the losses."""
    if values is None:
        return {}
    if isinstance(values, Mapping) != named:
        raise ValueError(f"MultipleLosses: {name} must be a {'dict' if named else 'list'}, as losses is.")
    found: dict[Key, Value] = {}
    found.update(values if isinstance(values, Mapping) else enumerate(values))
    missing = set(keys) - set(found) if all_needed or not named else set()
    if missing or set(found) - set(keys):
        raise ValueError(f"MultipleLosses: {name} must be for {keys}; got {list(found)}. Pass one for each loss.")
    return found
