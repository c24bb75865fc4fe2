"""What every declared sampler owes its callers. A new sampler is tested here without an edit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlcore.samplers import SAMPLERS

LABELS = np.repeat(np.arange(9), [3, 5, 8, 8, 4, 1, 12, 7, 16])

pytestmark = pytest.mark.parametrize("spec", SAMPLERS.values(), ids=SAMPLERS.keys())


@pytest.mark.parametrize("batch_size", [8, 16, 20])
def test_batches_are_full_and_an_epoch_visits_every_sample(spec, batch_size):
    batches = spec.build({"labels": LABELS, "batch_size": batch_size}).epoch(1, 0)
    assert batches.shape[1] == batch_size
    assert batches.dtype == np.int64
    assert set(batches.ravel().tolist()) == set(range(len(LABELS)))


def test_epochs_depend_on_their_number_and_the_seed_and_on_nothing_else(spec):
    first, second = (spec.build({"labels": LABELS, "batch_size": 8}) for _ in range(2))
    expected = first.epoch(3, 7)
    np.random.default_rng(0)
    second.epoch(1, 7)
    np.testing.assert_array_equal(second.epoch(3, 7), expected)
    assert not np.array_equal(first.epoch(4, 7), expected)
    assert not np.array_equal(first.epoch(3, 8), expected)


def test_the_global_generators_are_left_alone(spec):
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    spec.build({"labels": LABELS, "batch_size": 8}).epoch(1, 0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_coverage_counts_what_an_epoch_visits(spec):
    coverage = spec.build({"labels": LABELS, "batch_size": 8}).coverage()
    assert coverage["samples_visited"] == coverage["samples"] == len(LABELS)
    assert coverage["classes_visited"] == coverage["classes"] == 9
    assert coverage["draws"] == 8 * coverage["batches"]


def test_labels_may_be_a_tensor_with_any_class_numbers(spec):
    sampler = spec.build({"labels": torch.tensor(LABELS) * 10 - 5, "batch_size": 8})
    np.testing.assert_array_equal(sampler.epoch(1, 0), spec.build({"labels": LABELS, "batch_size": 8}).epoch(1, 0))


@pytest.mark.parametrize("labels", [np.empty(0, np.int64), np.zeros((4, 2), np.int64), np.array([0.5, 1.5])])
def test_labels_that_are_not_one_whole_number_per_row_are_refused(spec, labels):
    with pytest.raises(ValueError, match="labels must be one whole number per training row"):
        spec.build({"labels": labels, "batch_size": 2})


def test_declaration_says_what_to_expect(spec):
    assert any(section.startswith("What to expect: ") for section in spec.text.split("\n\n"))
