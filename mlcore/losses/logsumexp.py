"""Sums of exponentials over part of a matrix, in the log."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_logsumexp(values: Tensor, keep: Tensor, dim: int) -> Tensor:
    """log of the sum of exp over the kept entries; the dtype's minimum, with a zero gradient, where none is kept.

    The fill is the dtype's minimum, not -inf: a slice of only -inf has a NaN gradient.
    """
    return values.masked_fill(~keep, torch.finfo(values.dtype).min).logsumexp(dim)


def log_one_plus_sum_exp(values: Tensor, keep: Tensor, dim: int) -> Tensor:
    """log(1 + sum of exp over the kept entries), 0 with a zero gradient where none is kept."""
    total = masked_logsumexp(values, keep, dim)
    return torch.logaddexp(total, torch.zeros_like(total))


def grouped_logsumexp(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """(count,) log of the sum of exp over the values (P,) of each of the groups (P,), -inf for a group without any.

    What masked_logsumexp says of a matrix, for entries that were picked out: cheaper where they are few.
    """
    with torch.no_grad():
        top = values.new_full((count,), -torch.inf).scatter_reduce_(0, groups, values, "amax")
    sums = values.new_zeros(count).index_add(0, groups, (values - top[groups]).exp())
    return sums.log() + top
