"""Plain random batches."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.samplers import ShuffleSampler


def test_each_sample_comes_once_and_the_last_batch_is_filled_up():
    batches = ShuffleSampler(np.zeros(10, np.int64), 4).epoch(1, 0)
    assert batches.shape == (3, 4)
    assert sorted(batches.ravel()[:10].tolist()) == list(range(10))
    assert len(set(batches[-1].tolist())) == 4


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match=r"between 1 and the 10 training samples; got 11. Pass batch_size=10 or less"):
        ShuffleSampler(np.zeros(10, np.int64), 11)
