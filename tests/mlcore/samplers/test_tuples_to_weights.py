"""Samples drawn as often as a miner finds them difficult."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlcore.samplers import SAMPLERS, TuplesToWeightsSampler
from mlcore.tuples import Triplets

LABELS = np.arange(40) % 4
EMBEDDINGS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def embed(rows):
    return EMBEDDINGS[torch.from_numpy(rows)]


def nothing(embeddings, labels):
    empty = torch.empty(0, dtype=torch.long)
    return Triplets(empty, empty, empty)


def test_samples_come_as_often_as_they_stand_in_tuples():
    tuples = Triplets(torch.tensor([0, 0, 0]), torch.tensor([4, 8, 4]), torch.tensor([1, 2, 3]))
    sampler = TuplesToWeightsSampler(LABELS, 10, embed, lambda embeddings, labels: tuples)
    drawn = np.concatenate([sampler.epoch(epoch, 0).ravel() for epoch in range(200)])
    share = np.bincount(drawn, minlength=40) / len(drawn)
    expected = np.zeros(40)
    expected[[0, 4, 8, 1, 2, 3]] = np.array([3, 2, 1, 1, 1, 1]) / 9
    np.testing.assert_allclose(share, expected, atol=0.02)


def test_positions_in_the_subset_are_turned_back_into_rows():
    subsets = []

    def watched(rows):
        subsets.append(set(rows.tolist()))
        return embed(rows)

    sampler = TuplesToWeightsSampler(LABELS, 4, watched, nothing, subset_size=10)
    batches = sampler.epoch(3, 0)
    assert batches.shape == (3, 4)
    assert len(subsets[0]) == 10
    assert set(batches.ravel().tolist()) <= subsets[0]
    np.testing.assert_array_equal(sampler.epoch(3, 0), batches)
    assert not np.array_equal(sampler.epoch(4, 0), batches)


def test_coverage_says_how_few_are_visited():
    tuples = Triplets(torch.tensor([0]), torch.tensor([4]), torch.tensor([1]))
    coverage = TuplesToWeightsSampler(LABELS, 10, embed, lambda embeddings, labels: tuples).coverage()
    assert (coverage["samples_visited"], coverage["samples"], coverage["classes_visited"]) == (3, 40, 2)


def test_an_embed_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"one row per sample, \(40, D\); got \(5, 3\)"):
        TuplesToWeightsSampler(LABELS, 10, lambda rows: EMBEDDINGS[:5], nothing).epoch(1, 0)


def test_it_is_declared_apart_since_it_needs_the_model():
    spec = SAMPLERS["tuples_to_weights"]
    assert spec.sizes == ("labels", "batch_size", "embed", "miner")
    assert "What to expect: " in spec.description
