"""What every declared sampler owes its callers. A new sampler is tested here without an edit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlcore.miners import NoMiner
from mlcore.samplers import SAMPLERS
from mlcore.traits import SamplerTrait

LABELS = np.repeat(np.arange(9), [3, 5, 8, 8, 4, 1, 12, 7, 16])

pytestmark = pytest.mark.parametrize("spec", SAMPLERS.values(), ids=SAMPLERS.keys())


def sizes_of(spec, batch_size=8, labels=LABELS):
    """What the sampler's traits ask for, and the nearest batch of whole groups."""
    together = getattr(spec.load(), "rows_together", 1)
    if SamplerTrait.PARENT_LABELS in spec.traits and np.ndim(labels) == 1:
        labels = np.stack([labels, labels // 3], axis=1)
    sizes = {"labels": labels, "batch_size": batch_size - batch_size % together}
    if SamplerTrait.LOOKS_AT_THE_MODEL in spec.traits:
        points = torch.randn(len(LABELS), 5, generator=torch.Generator().manual_seed(0))
        sizes |= {"embed": lambda rows: points[torch.from_numpy(rows)], "miner": NoMiner()}
    return sizes


@pytest.mark.parametrize("batch_size", [8, 16, 24])
def test_batches_are_full_and_an_epoch_visits_what_it_says(spec, batch_size):
    sizes = sizes_of(spec, batch_size)
    sampler = spec.build(sizes)
    batches = sampler.epoch(1, 0)
    assert batches.shape[1] == sizes["batch_size"]
    assert batches.dtype == np.int64
    visited = set(batches.ravel().tolist())
    assert visited <= set(range(len(LABELS)))
    assert len(visited) == sampler.coverage()["samples_visited"]
    assert len(visited) == len(LABELS) or not getattr(sampler, "visits_everyone", True)


def test_epochs_depend_on_their_number_and_the_seed_and_on_nothing_else(spec):
    first, second = (spec.build(sizes_of(spec)) for _ in range(2))
    expected = first.epoch(3, 7)
    np.random.default_rng(0)
    second.epoch(1, 7)
    np.testing.assert_array_equal(second.epoch(3, 7), expected)
    assert not np.array_equal(first.epoch(4, 7), expected)
    assert not np.array_equal(first.epoch(3, 8), expected)


def test_the_global_generators_are_left_alone(spec):
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    spec.build(sizes_of(spec)).epoch(1, 0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_coverage_counts_what_an_epoch_visits(spec):
    coverage = spec.build(sizes_of(spec)).coverage()
    everyone = getattr(spec.load(), "visits_everyone", True)
    assert coverage["samples"] == len(LABELS)
    assert coverage["samples_visited"] == len(LABELS) or not everyone
    assert coverage["classes"] == 9
    assert coverage["classes_visited"] == 9 or not everyone
    assert coverage["draws"] == sizes_of(spec)["batch_size"] * coverage["batches"]


def test_labels_may_be_a_tensor_with_any_class_numbers(spec):
    sizes = sizes_of(spec)
    sampler = spec.build({**sizes, "labels": torch.tensor(sizes["labels"]) * 10 - 5})
    np.testing.assert_array_equal(sampler.epoch(1, 0), spec.build(sizes_of(spec)).epoch(1, 0))


@pytest.mark.parametrize("labels", [np.empty(0, np.int64), np.zeros((4, 2, 2), np.int64), np.array([0.5, 1.5])])
def test_labels_that_are_not_one_whole_number_per_row_are_refused(spec, labels):
    with pytest.raises(ValueError, match="labels must be one whole number per training row"):
        spec.build(sizes_of(spec, 24, labels))


def test_declaration_says_what_to_expect(spec):
    assert any(section.startswith("What to expect: ") for section in spec.description.split("\n\n"))
