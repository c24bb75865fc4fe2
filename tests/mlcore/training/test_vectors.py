"""Training a head on feature vectors that came as data."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from mlcore.__main__ import main
from mlcore.data import load
from mlcore.data.feature_cache import features_root
from mlcore.data.importing import import_path
from mlcore.evaluation.retrieval import evaluate_retrieval
from mlcore.spec.run_spec import RunSpec
from mlcore.training import prepare as prepare_module
from mlcore.training.cached_features import COMPUTING
from mlcore.training.events import TrainingFault
from mlcore.training.feature_source import FeatureSource
from mlcore.training.loop import Trainer
from mlcore.training.prepare import prepare


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def npz(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 10)
    rows = generator.normal(size=(8, 12))[labels] + generator.normal(size=(80, 12))
    np.savez(tmp_path / "vectors.npz", vectors=rows.astype("f4"), labels=np.array([f"c{label}" for label in labels]))
    return tmp_path / "vectors.npz"


@pytest.fixture
def spec(npz):
    return RunSpec.read(
        {"dataset": import_path(npz).name, "threads": 1, "budget": {"steps": 6}, "watch": {"evaluate_every": 3}}
    )


def test_a_set_of_vectors_brings_its_backbone_and_changing_the_set_changes_it(spec, npz):
    assert (spec.backbone.key, spec.backbone.freeze) == ("vectors", "everything")
    assert RunSpec.read({"dataset": str(npz)}).backbone.key == "vectors"
    assert RunSpec.read({}).changed({"dataset": spec.dataset.key}).backbone == spec.backbone
    back = spec.changed({"dataset": "digits"})
    assert (back.backbone.key, back.backbone.freeze) == ("small_conv", "nothing")
    wide = RunSpec.read({"backbone": {"key": "small_conv", "params": {"width": 32}}})
    assert wide.changed({"dataset": "emoji"}).backbone == wide.backbone
    assert spec.changed({"loss": "contrastive"}).backbone == spec.backbone


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"backbone": "mlp"},
            "holds feature vectors, and Two-layer perceptron is for images. Set backbone to 'vectors'",
        ),
        ({"augment": "light"}, "taken as they are, so augment must be 'none'"),
        ({"mix.kind": "mixup"}, "taken as they are, so mix.kind must be 'none'"),
        ({"method": "unsupervised"}, "vectors have none. Choose another"),
        ({"backbone.pooling": "gem"}, "no last map"),
        ({"loss": "contrastive", "head.kind": "none"}, "nothing would be trained"),
        ({"dataset": "digits", "backbone": "vectors"}, "holds images, and 'vectors' is for a set of feature vectors"),
    ],
    ids=str,
)
def test_what_does_not_go_with_vectors_is_said_with_the_cure(spec, settings, said):
    with pytest.raises(ValueError, match=said):
        spec.changed(settings)


def test_images_at_a_path_and_sets_that_are_gone_are_left_to_the_training(tmp_path):
    (tmp_path / "photos").mkdir()
    assert RunSpec.read({"dataset": str(tmp_path / "photos")}).backbone.key == "small_conv"
    gone = RunSpec.read({"dataset": "set-000000000000", "backbone": "vectors"})
    assert gone.backbone.key == "vectors"
    with pytest.raises(TrainingFault, match="cannot be read"):
        prepare(gone)


def test_a_mismatch_that_the_spec_could_not_see_is_refused_by_the_training(spec, monkeypatch):
    monkeypatch.setattr(prepare_module, "load", lambda key, **params: load("digits"))
    with pytest.raises(ValueError, match="holds images"):
        prepare(spec)
    table = load("digits")
    with_vectors = dataclasses.replace(table, vectors=np.zeros((len(table), 3), np.float32))
    monkeypatch.setattr(prepare_module, "load", lambda key, **params: with_vectors)
    with pytest.raises(ValueError, match="Set backbone to 'vectors'"):
        prepare(RunSpec.read({"dataset": "digits"}))


def test_the_head_trains_on_the_vectors_themselves(spec):
    trainer = Trainer(prepare(spec))
    events = list(trainer.events())
    table = load(spec.dataset.key)
    assert isinstance(trainer.prepared.features.source, FeatureSource)
    rows = np.array([7, 0])
    np.testing.assert_array_equal(
        trainer.prepared.features.source.features(trainer.prepared.model, rows).numpy(), table.vectors[rows]
    )
    assert not [event for event in events if event.kind == "warning" or getattr(event, "text", "") == COMPUTING]
    assert not features_root().exists()
    first = next(event for event in events if event.kind == "evaluated")
    held = trainer.prepared.split.held_out
    untrained = evaluate_retrieval(table.vectors[held], table.labels[held])
    assert {name: first.backbone[name] for name in untrained} == untrained
    assert first.held_out != first.backbone


def test_a_resumed_run_on_vectors_has_the_very_curve(spec):
    def curve(events):
        return [(event.step, event.loss) for event in events if event.kind == "step"]

    whole = list(Trainer(prepare(spec)).events())
    saved = next(event for event in whole if event.kind == "checkpoint")
    assert curve(Trainer(prepare(spec), resume_from=saved.data).events()) == curve(whole)[saved.step :]


@pytest.mark.parametrize("head", ["none", "linear"])
def test_a_look_without_steps_needs_nothing_to_train(spec, head):
    settings = spec.model_dump(mode="json") | {"budget": {"steps": 0}, "loss": "contrastive"}
    settings |= {"sampler": {"key": "shuffle", "batch_size": 2}, "watch": {}}
    settings["backbone"] |= {"freeze": "nothing"}
    settings["head"] |= {"kind": head}
    kinds = [event.kind for event in Trainer(prepare(RunSpec.read(settings))).events()]
    assert kinds[0] == "started"
    assert {"snapshot", "evaluated", "finished"} <= set(kinds)


def test_without_a_head_the_features_own_figures_are_told_all_the_same(spec):
    bare = spec.changed({"head.kind": "none", "loss": "arcface"})
    first = next(event for event in Trainer(prepare(bare)).events() if event.kind == "evaluated")
    assert first.backbone["map_at_r"] == first.held_out["map_at_r"]


def test_training_and_evaluating_from_the_command_line_simply_works(npz, tmp_path, capsys):
    runs = ["--runs", str(tmp_path / "runs")]
    code = main(["train", "--dataset", str(npz), "--loss", "arcface", "--steps", "4", "--name", "mine", *runs])
    assert code == 0
    said = capsys.readouterr().out
    assert "mine: done" in said
    assert "no training: MAP@R 0." in said
    assert main(["evaluate", "mine", *runs]) == 0
    assert "no training: MAP@R 0." in capsys.readouterr().out
    assert main(["evaluate", "mine", "--side", "train", *runs]) == 0
    assert "no training" not in capsys.readouterr().out
    assert main(["runs", *runs]) == 0
    assert re.search(r"MAP@R 0\.\d{3}  no training 0\.\d{3}", capsys.readouterr().out)
    assert main(["runs", "--json", *runs]) == 0
    listed = json.loads(capsys.readouterr().out)[0]["no_training"]
    assert main(["show", "mine", "--json", *runs]) == 0
    assert json.loads(capsys.readouterr().out)["no_training"] == listed
    assert listed["map_at_r"] > 0
    assert main(["train", "--dataset", str(npz), "--backbone", "mlp", "--loss", "arcface", *runs]) == 2
    assert "Set backbone to 'vectors'" in capsys.readouterr().err
