"""m per class: what stands in a batch, and what an epoch costs."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.samplers import MPerClassSampler

UNEVEN = np.repeat(np.arange(7), [2, 4, 5, 8, 9, 16, 1])


@pytest.mark.parametrize(
    ("labels", "batch_size", "m"), [(UNEVEN, 16, 4), (UNEVEN, 6, 2), (UNEVEN, 7, 1), (UNEVEN, 9, 3)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_batch_holds_m_of_each_of_its_classes(labels, batch_size, m, seed):
    for batch in MPerClassSampler(labels, batch_size, m=m).epoch(1, seed):
        _, counts = np.unique(labels[batch], return_counts=True)
        assert counts.tolist() == [m] * (batch_size // m)


def test_samples_repeat_in_a_batch_only_in_classes_smaller_than_m():
    for batch in MPerClassSampler(UNEVEN, 16, m=4).epoch(2, 0):
        rows, counts = np.unique(batch, return_counts=True)
        sizes = np.bincount(UNEVEN)[UNEVEN[rows[counts > 1]]]
        assert (sizes < 4).all()


def test_even_classes_are_visited_exactly_once():
    labels = np.repeat(np.arange(30), 8)
    batches = MPerClassSampler(labels, 40, m=4).epoch(5, 3)
    assert sorted(batches.ravel().tolist()) == list(range(240))


def test_leftovers_cost_no_more_than_filling_up_the_last_group_and_batch():
    labels = np.repeat(np.arange(20), 10)  # three groups of 4 where 2.5 would do: 60 groups, 5 to a batch
    assert MPerClassSampler(labels, 20, m=4).coverage()["batches"] == 12


@pytest.mark.parametrize("seed", range(20))
def test_an_epoch_takes_as_few_batches_as_can_be(seed):
    sizes = np.random.default_rng(seed).integers(1, 30, size=9)
    groups = -(-sizes // 4)
    batches = MPerClassSampler(np.repeat(np.arange(9), sizes), 12, m=4).epoch(1, seed)
    assert len(batches) == max(groups.max(), -(-groups.sum() // 3))


def test_a_large_class_is_not_cut_short_and_gets_company():
    labels = np.repeat(np.arange(5), [40, 4, 4, 4, 4])
    sampler = MPerClassSampler(labels, 8, m=4)
    batches = sampler.epoch(1, 0)
    assert len(batches) == 10
    assert sampler.coverage()["samples_visited"] == len(labels)
    company = np.bincount(labels[batches.ravel()])[1:]
    assert sorted(company.tolist()) == [8, 8, 12, 12]  # the extra draws are spread evenly


def test_order_of_large_and_small_classes_is_mixed():
    labels = np.repeat(np.arange(5), [40, 4, 4, 4, 4])
    first = [MPerClassSampler(labels, 8, m=4).epoch(epoch, 0)[0] for epoch in range(1, 30)]
    assert len({tuple(np.unique(labels[batch])) for batch in first}) > 2


@pytest.mark.parametrize("batch_size", [10, 3, 0])
def test_a_batch_size_that_m_does_not_divide_is_refused(batch_size):
    with pytest.raises(ValueError, match=rf"must be a multiple of m = 4; got {batch_size}"):
        MPerClassSampler(UNEVEN, batch_size, m=4)


def test_the_offered_batch_size_works():
    with pytest.raises(ValueError, match="Pass batch_size=8"):
        MPerClassSampler(UNEVEN, 10, m=4)
    MPerClassSampler(UNEVEN, 8, m=4)


def test_few_classes_share_a_large_batch_evenly_in_multiples_of_m():
    labels = np.repeat(np.arange(5), 40)
    batches = MPerClassSampler(labels, 32, m=4).epoch(1, 0)
    for batch in batches:
        counts = np.bincount(labels[batch], minlength=5)
        assert sorted(counts) == [4, 4, 8, 8, 8]
    assert len(np.unique(batches)) == 200


def test_ten_thousand_classes_are_cut_into_batches_at_once():
    labels = np.repeat(np.arange(10_000), 6)
    batches = MPerClassSampler(labels, 400, m=2).epoch(1, 0)
    assert batches.shape == (150, 400)
