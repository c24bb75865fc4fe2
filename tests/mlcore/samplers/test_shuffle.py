"""Plain random batches."""

from __future__ import annotations

import numpy as np

from mlcore.samplers import ShuffleSampler


def test_each_sample_comes_once_and_the_last_batch_is_filled_up():
    batches = ShuffleSampler(np.zeros(10, np.int64), 4).epoch(1, 0)
    assert batches.shape == (3, 4)
    assert sorted(batches.ravel()[:10].tolist()) == list(range(10))
    assert len(set(batches[-1].tolist())) == 4


def test_a_batch_larger_than_the_data_is_all_of_it():
    (batch,) = ShuffleSampler(np.arange(10) % 2, batch_size=11).epoch(1, 0)
    assert sorted(batch) == list(range(10))
