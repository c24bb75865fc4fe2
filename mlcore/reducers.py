"""How one number is made of many: what a loss does with its value per item.

A loss hands its reducer named parts and the embeddings. A part is a tensor of losses, or `Sums` when the loss never
holds its items one by one. Parts are reduced one by one and added. A part without items gives a zero that is still
attached to the graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlcore.declare import Registry

REDUCERS = Registry("reducer")


class Sums(NamedTuple):
    """A part known by the sum of its losses, how many there are, and how many are above zero (scalars)."""

    total: Tensor
    count: Tensor
    above_zero: Tensor


Part = Tensor | Sums


def sums_of(part: Part) -> Sums:
    if isinstance(part, Sums):
        return part
    return Sums(part.sum(), torch.tensor(part.numel(), device=part.device), (part > 0).count_nonzero())


class Reducer(nn.Module):
    """What reducers share. `needs_items` asks the loss for every item, whatever it costs."""

    needs_items = False

    def forward(self, parts: dict[str, Part], embeddings: Tensor) -> Any:
        zero = (embeddings * 0.0).sum()
        return zero + sum(self.reduce(sums_of(part)) for part in parts.values())

    def reduce(self, sums: Sums) -> Tensor:
        raise NotImplementedError


@REDUCERS.add("mean", title="Mean", family="reducer", formula=r"\frac{1}{N}\sum_i \ell_i")
class MeanReducer(Reducer):
    """Averages over all items, so the step shrinks as more of them are solved."""

    def __init__(self) -> None:
        super().__init__()

    def reduce(self, sums: Sums) -> Tensor:
        return sums.total / sums.count.clamp_min(1)


@REDUCERS.add("sum", title="Sum", family="reducer", formula=r"\sum_i \ell_i")
class SumReducer(Reducer):
    """Adds all items, so the step grows with the batch."""

    def __init__(self) -> None:
        super().__init__()

    def reduce(self, sums: Sums) -> Tensor:
        return sums.total


@REDUCERS.add(
    "avg_non_zero", title="Mean of the non-zero", family="reducer", formula=r"\frac{\sum_i \ell_i}{|\{i:\ell_i>0\}|}"
)
class AvgNonZeroReducer(Reducer):
    """Averages over the items that still lose something, so the step stays large while few are left."""

    def __init__(self) -> None:
        super().__init__()

    def reduce(self, sums: Sums) -> Tensor:
        return sums.total / sums.above_zero.clamp_min(1)


@REDUCERS.add("none", title="No reduction", family="reducer", formula=r"\ell_i")
class DoNothingReducer(Reducer):
    """Returns the parts as they are: a dict from the part's name to its losses, one per item."""

    needs_items = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, parts: dict[str, Part], embeddings: Tensor) -> dict[str, Part]:
        return parts
