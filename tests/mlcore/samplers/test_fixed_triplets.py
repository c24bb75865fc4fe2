"""A fixed set of triplets."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.samplers import FixedSetOfTriplets

LABELS = np.repeat(np.arange(6), [1, 2, 5, 8, 1, 3])


def set_of(batches):
    return {tuple(triplet) for triplet in batches.reshape(-1, 3).tolist()}


@pytest.mark.parametrize("set_seed", range(3))
def test_triplets_are_right_also_beside_classes_of_one(set_seed):
    batches = FixedSetOfTriplets(LABELS, 30, num_triplets=500, set_seed=set_seed).epoch(1, 0)
    anchors, positives, negatives = batches.reshape(-1, 3).T
    assert (anchors != positives).all()
    assert (LABELS[anchors] == LABELS[positives]).all()
    assert (LABELS[anchors] != LABELS[negatives]).all()
    assert set(LABELS[negatives]) == set(range(6))
    assert set(LABELS[anchors]) == {1, 2, 3, 5}


def test_all_epochs_show_the_same_set():
    sampler = FixedSetOfTriplets(LABELS, 9, num_triplets=20)
    first = sampler.epoch(1, 0)
    assert first.shape == (7, 9)
    assert len(set_of(first)) <= 20
    assert all(set_of(sampler.epoch(epoch, seed)) == set_of(first) for epoch in (2, 3) for seed in (0, 5))
    assert set_of(FixedSetOfTriplets(LABELS, 9, num_triplets=20, set_seed=1).epoch(1, 0)) != set_of(first)


def test_a_small_set_fills_a_large_batch():
    assert FixedSetOfTriplets(LABELS, 30, num_triplets=2).epoch(1, 0).shape == (1, 30)


def test_a_batch_that_cuts_a_triplet_is_refused():
    with pytest.raises(ValueError, match=r"must be a multiple of 3; got 32. Pass batch_size=33"):
        FixedSetOfTriplets(LABELS, 32)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_labels_without_a_triplet_are_refused(labels):
    with pytest.raises(ValueError, match="needs two classes, one of them with two samples"):
        FixedSetOfTriplets(labels, 3)
