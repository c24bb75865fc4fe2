"""A linear head on a frozen backbone begins at the principal components of what it will see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlcore.again import rebuilt
from mlcore.evaluation.retrieval import evaluate_retrieval
from mlcore.runs.spec import RunSpec
from mlcore.session import run_folder
from mlcore.training.head_start import principal_components
from mlcore.training.loop import Training


@pytest.fixture
def frozen(quick_spec):
    settings = {"backbone.freeze": "everything", "head.start": "components", "head.embedding_size": 16}
    return quick_spec.changed(settings)


def test_components_are_those_of_a_singular_value_decomposition():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 6)) * [5, 3, 2, 1, 0.5, 0.1])
    mean, directions = principal_components(features)
    _, _, expected = np.linalg.svd(features.numpy() - features.numpy().mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(mean.numpy(), features.numpy().mean(axis=0))
    np.testing.assert_allclose(np.abs(directions.numpy()), np.abs(expected), atol=1e-9)
    assert (directions.gather(1, directions.abs().argmax(1, keepdim=True)) > 0).all()


def test_fewer_images_than_numbers_have_fewer_components():
    assert principal_components(torch.randn(5, 9, generator=torch.Generator().manual_seed(0)))[1].shape == (4, 9)


def first_embeddings(spec):
    training = Training(spec.changed({"budget.steps": 0}))
    events = list(training.events())
    with torch.no_grad():
        features = training.source.features(training.model, training.split.held_out)
        return training, features, training.model.head(features), events


def test_the_first_look_is_nearer_to_the_features_than_a_random_head_s(frozen):
    training, features, embeddings, events = first_embeddings(frozen)
    _, _, random, _ = first_embeddings(frozen.changed({"head.start": "random"}))
    labels = training.table.labels[training.split.held_out]
    whole, kept, lost = (
        evaluate_retrieval(found.numpy(), labels)["map_at_r"] for found in (features, embeddings, random)
    )
    assert abs(kept - whole) < 0.02
    assert kept > lost
    (look,) = [event for event in events if event.kind == "evaluated"]
    assert look.held_out["map_at_r"] == pytest.approx(kept, abs=1e-4)


def test_an_average_of_the_weights_begins_there_too(frozen):
    looks = [event for event in Training(frozen.changed({"optimizer.ema": 0.9})).events() if event.kind == "evaluated"]
    plain = [event for event in Training(frozen).events() if event.kind == "evaluated"]
    assert looks[0].held_out == plain[0].held_out


def test_the_head_before_training_is_found_again(frozen, runs):
    run = runs.create(frozen)
    assert run_folder(run) == 0
    before, after = rebuilt(run, None), Training(frozen)
    list(after.events())
    fresh, _, _, _ = first_embeddings(frozen)
    torch.testing.assert_close(before.model.head.weight, fresh.model.head.weight)
    assert not torch.equal(before.model.head.weight, after.model.head.weight)


@pytest.mark.parametrize("change", [{"backbone.freeze": "nothing"}, {"head.kind": "mlp"}, {"head.kind": "none"}])
def test_it_needs_a_linear_head_on_a_frozen_backbone(frozen, change):
    with pytest.raises(ValueError, match="'components' needs a linear head on a frozen backbone"):
        frozen.changed(change)


def test_older_specs_begin_at_random():
    assert RunSpec.read({"head": {"kind": "linear"}}).head.start == "random"
