"""A linear head begins at the principal components of what it will see; a residual head at the features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlcore.analysis.evaluate_run import rebuild_run
from mlcore.engines.attempt_runner import run_folder
from mlcore.evaluation.retrieval import evaluate_retrieval
from mlcore.spec.run_spec import RunSpec
from mlcore.training.loop import Trainer, train
from mlcore.training.pca_init import begin_with_components, principal_components
from mlcore.training.prepare import prepare


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
    trainer = Trainer(prepare(spec.changed({"budget.steps": 0})))
    events, prepared = list(trainer.events()), trainer.prepared
    with torch.no_grad():
        features = prepared.features.source.features(prepared.model, prepared.split.held_out)
        return prepared, features, prepared.model.head(features), events


def test_the_first_look_is_nearer_to_the_features_than_a_random_head_s(frozen):
    prepared, features, embeddings, events = first_embeddings(frozen)
    _, _, random, _ = first_embeddings(frozen.changed({"head.start": "random"}))
    labels = prepared.table.labels[prepared.split.held_out]
    whole, kept, lost = (
        evaluate_retrieval(found.numpy(), labels)["map_at_r"] for found in (features, embeddings, random)
    )
    assert abs(kept - whole) < 0.02
    assert kept > lost
    (look,) = [event for event in events if event.kind == "evaluated"]
    assert look.held_out["map_at_r"] == pytest.approx(kept, abs=1e-4)


def test_an_average_of_the_weights_begins_there_too(frozen):
    averaged = frozen.changed({"optimizer.ema": 0.9})
    looks, plain = ([event for event in train(spec) if event.kind == "evaluated"] for spec in (averaged, frozen))
    assert looks[0].held_out == plain[0].held_out


def test_the_head_before_training_is_found_again(frozen, runs):
    run = runs.create(frozen)
    assert run_folder(run) == 0
    before, _ = rebuild_run(run, None)
    after = Trainer(prepare(frozen))
    list(after.events())
    fresh, _, _, _ = first_embeddings(frozen)
    torch.testing.assert_close(before.model.head.weight, fresh.model.head.weight)
    assert not torch.equal(before.model.head.weight, after.prepared.model.head.weight)


@pytest.mark.parametrize("kind", ["mlp", "none", "residual"])
def test_it_needs_a_linear_head(frozen, kind):
    with pytest.raises(ValueError, match="'components' needs a linear head"):
        frozen.changed({"head.kind": kind, "head.start": "components"})


def test_a_backbone_that_trains_is_looked_at_without_learning_from_it(frozen):
    spec = frozen.changed({"backbone.freeze": "nothing", "backbone": "small_conv", "budget.steps": 0})
    trainer = Trainer(prepare(spec))
    before = {name: value.clone() for name, value in trainer.prepared.model.backbone.state_dict().items()}
    told = [event for event in trainer.events() if event.kind == "progress" and "main directions" in event.text]
    assert told[-1].done == told[-1].total == len(trainer.prepared.split.train)
    for name, value in trainer.prepared.model.backbone.state_dict().items():
        torch.testing.assert_close(value, before[name])
    features = torch.from_numpy(trainer.prepared.features.read_frozen(trainer.prepared.split.train))
    _, directions = principal_components(features)
    torch.testing.assert_close(trainer.prepared.model.head.weight.detach(), directions[:16].float())


def test_few_images_are_completed_by_directions_at_right_angles():
    features = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    head = nn.Linear(9, 9)
    begin_with_components(head, features)
    torch.testing.assert_close(head.weight @ head.weight.T, torch.eye(9), atol=1e-5, rtol=0)
    others = torch.randn(7, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.cdist(head(others), head(others)), torch.cdist(others, others), atol=1e-4, rtol=0)


def test_a_residual_head_begins_as_the_features(frozen):
    _, features, embeddings, _ = first_embeddings(frozen.changed({"head.start": "random", "head.kind": "residual"}))
    assert torch.equal(features, embeddings)


def test_a_residual_head_learns(frozen):
    spec = frozen.changed({"head.start": "random", "head.kind": "residual"})
    trainer = Trainer(prepare(spec))
    steps = [event for event in trainer.events() if event.kind == "step"]
    assert len(steps) == spec.budget.steps
    assert trainer.prepared.model.head.weight.abs().max() > 0


def test_older_specs_begin_at_random():
    assert RunSpec.read({"head": {"kind": "linear"}}).head.start == "random"
