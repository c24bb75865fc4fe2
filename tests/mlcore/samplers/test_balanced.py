"""Balanced classes."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.samplers import BalancedSampler

UNEVEN = np.repeat(np.arange(5), [1, 3, 10, 40, 46])


@pytest.mark.parametrize("batch_size", [10, 7, 100])
def test_every_class_comes_equally_often(batch_size):
    batches = BalancedSampler(UNEVEN, batch_size).epoch(1, 0)
    assert batches.size == -(-100 // batch_size) * batch_size
    counts = np.bincount(UNEVEN[batches.ravel()])
    assert counts.max() - counts.min() <= 1


def test_no_sample_comes_again_before_its_class_is_through():
    counts = np.bincount(BalancedSampler(UNEVEN, 10).epoch(1, 0).ravel(), minlength=100)
    for of_class in range(5):
        own = counts[of_class == UNEVEN]
        assert own.max() - own.min() <= 1


def test_epochs_together_visit_everyone():
    sampler = BalancedSampler(UNEVEN, 10)
    assert sampler.coverage()["samples_visited"] < 100
    assert len(np.unique([sampler.epoch(epoch, 0) for epoch in range(1, 15)])) == 100
