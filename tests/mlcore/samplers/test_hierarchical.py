"""Batches of related classes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mlcore.samplers import HierarchicalSampler

CLASSES = np.repeat(np.arange(8), [5, 6, 4, 9, 3, 2, 7, 4])
LABELS = np.stack([CLASSES, CLASSES // 2], axis=1)  # four super classes of two


def test_each_batch_is_shared_by_the_super_classes_and_each_combination_has_its_turns():
    batches = HierarchicalSampler(LABELS, 16, 4, 3, 2).epoch(1, 0)
    assert batches.shape == (6 * 3, 16)
    seen = []
    for batch in batches:
        supers, counts = np.unique(LABELS[batch, 1], return_counts=True)
        assert counts.tolist() == [8, 8]
        assert (np.bincount(LABELS[batch, 0])[np.unique(LABELS[batch, 0])] == 4).all()
        seen.append(tuple(supers.tolist()))
    assert {pair: seen.count(pair) for pair in seen} == dict.fromkeys(itertools.combinations(range(4), 2), 3)


def test_a_class_shows_a_sample_again_only_when_it_is_through():
    for batch in HierarchicalSampler(LABELS, 16, 4).epoch(1, 0):
        rows, counts = np.unique(batch, return_counts=True)
        assert (np.bincount(CLASSES)[CLASSES[rows[counts > 1]]] < 4).all()


def test_whole_classes_fill_the_batch():
    batches = HierarchicalSampler(LABELS, 20, None).epoch(1, 0)
    assert batches.shape == (24, 20)


def test_other_columns_may_be_the_levels():
    table = np.stack([CLASSES // 4, CLASSES % 3, CLASSES], axis=1)
    sampler = HierarchicalSampler(table, 8, 2, 1, 2, inner_label=2, outer_label=0)
    assert sampler.epoch(1, 0).shape == (1, 8)
    assert sampler.coverage()["classes"] == 8


@pytest.mark.parametrize("labels", [CLASSES, LABELS[:, :1]])
def test_labels_of_one_level_are_refused(labels):
    with pytest.raises(ValueError, match="Use m per class where there is one level"):
        HierarchicalSampler(labels, 16)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match=r"= 8; got 20. Pass batch_size=16"):
        HierarchicalSampler(LABELS, 20, 4)
    with pytest.raises(ValueError, match="at most the 4 super classes; got 5"):
        HierarchicalSampler(LABELS, 20, 4, super_classes_per_batch=5)
