"""Masked log-sum-exp, where nothing is kept and where much is."""

from __future__ import annotations

import math

import pytest
import torch

from mlcore.losses.logsumexp import grouped_logsumexp, log_one_plus_sum_exp, masked_logsumexp

VALUES = torch.tensor([[1.0, 2.0, 500.0], [1.0, 2.0, 500.0], [-400.0, 3.0, 3.0]])
KEEP = torch.tensor([[True, True, False], [False, False, False], [True, False, False]])


def test_only_kept_entries_count_and_the_largest_may_be_masked():
    total = masked_logsumexp(VALUES, KEEP, dim=1)
    assert total[0].item() == pytest.approx(math.log(math.e + math.e**2))
    assert total[2].item() == -400.0
    assert torch.isfinite(total).all()


def test_a_slice_without_entries_is_zero_with_a_zero_gradient():
    values = VALUES.clone().requires_grad_()
    total = log_one_plus_sum_exp(values, KEEP, dim=1)
    total.sum().backward()
    assert total[1].item() == 0.0
    assert torch.isfinite(values.grad).all()
    assert values.grad[1].abs().sum() == 0.0
    assert values.grad[~KEEP].abs().sum() == 0.0


def test_large_exponents_do_not_overflow():
    kept = torch.ones_like(KEEP)
    assert log_one_plus_sum_exp(VALUES, kept, dim=1)[0].item() == pytest.approx(500.0)
    assert log_one_plus_sum_exp(VALUES, kept, dim=0)[0].item() == pytest.approx(math.log(1 + 2 * math.e))


def test_groups_say_what_masked_rows_say():
    values = (100.0 * torch.randn(5, 7, dtype=torch.float64)).requires_grad_()
    keep = torch.rand(5, 7) < 0.4
    keep[2] = False
    keep[:2, 0] = True
    filled = keep.any(dim=1)
    rows, columns = keep.nonzero(as_tuple=True)
    grouped = grouped_logsumexp(values[rows, columns], rows, 5)
    masked = masked_logsumexp(values, keep, dim=1)
    torch.testing.assert_close(grouped[filled], masked[filled])
    assert grouped[2].item() == -math.inf
    gradients = [torch.autograd.grad(total[filled].sum(), values)[0] for total in (grouped, masked)]
    torch.testing.assert_close(*gradients)
