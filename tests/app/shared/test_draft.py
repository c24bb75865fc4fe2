"""Settings: dotted names for a spec, and the same run as a command line and as Python."""

import shlex

import pytest
import streamlit as st

from app.lab.export_spec import command_line, differences_from_defaults, python_lines
from app.shared.draft import KEY, Draft, parse_url_text, url_text
from app.shared.lessons import LESSONS
from mlcore.__main__ import build_parser, spec_from_options
from mlcore.spec.run_spec import RunSpec


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_every_lesson_is_a_run(lesson):
    spec = RunSpec.read({}).changed(lesson.settings)
    for name, wanted in lesson.settings.items():
        assert spec.settings()[name] == wanted


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_settings_of_a_spec_make_that_spec(lesson):
    spec = RunSpec.read({}).changed(lesson.settings)
    assert RunSpec.read({}).changed(spec.settings()) == spec


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_the_copied_command_line_makes_the_same_run(lesson):
    spec = RunSpec.read({}).changed(lesson.settings | {"name": "it's <mine>"})
    words = shlex.split(command_line(spec).replace("\\\n", " "))  # as a shell joins continued lines
    assert words[:3] == ["python", "-m", "mlcore"]
    assert spec_from_options(build_parser().parse_args(words[3:])) == spec


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_the_copied_python_makes_the_same_run(lesson):
    spec = RunSpec.read({}).changed(lesson.settings)
    lines = python_lines(spec).split("for event")[0]
    names: dict = {}
    exec(lines, names)
    assert names["spec"] == spec


def test_only_what_differs_is_copied():
    spec = RunSpec.read({}).changed({"loss.margin": 0.25})
    assert differences_from_defaults(spec)["loss.margin"] == 0.25
    assert "loss.scale" not in differences_from_defaults(spec)
    assert "optimizer.head_lr" not in differences_from_defaults(spec)


@pytest.mark.parametrize("item", [True, False, None, 3, 0.25, 1e-05, "class", "arcface"])
def test_a_setting_survives_the_url(item):
    assert parse_url_text(url_text(item)) == item
    assert type(parse_url_text(url_text(item))) is type(item)


PARTS = {
    "loss": "contrastive",
    "distance": "lp",
    "distance.p": 1.0,
    "embedding_regularizer": "zero_mean",
    "embedding_regularizer.weight": 0.5,
    "second_loss": "ntxent",
    "wrapper": "cross_batch_memory",
    "method": "with_classifier",
    "method.classifier_weight": 0.25,
    "augment": "custom",
    "augment.turn": 0.2,
    "augment.flip": 0.5,
    "backbone.pooling": "gem",
    "backbone.freeze": "all_but_last",
    "head.norm": "batch",
    "head.dropout": 0.25,
    "head.normalize": True,
    "optimizer.name": "lion",
    "optimizer.schedule": "plateau",
    "optimizer.drop_every": 7,
    "optimizer.drop_to": 0.5,
    "optimizer.patience": 4,
    "optimizer.clip_norm": 2.0,
    "optimizer.accumulate": 3,
    "optimizer.ema": 0.95,
    "precision": "bf16",
}


def test_the_parts_that_may_be_left_out_are_copied_too():
    spec = RunSpec.read({}).changed(PARTS)
    assert RunSpec.read({}).changed(spec.settings()) == spec
    words = shlex.split(command_line(spec).replace("\\\n", " "))
    assert "--embedding-regularizer" in words
    assert spec_from_options(build_parser().parse_args(words[3:])) == spec
    names: dict = {}
    exec(python_lines(spec).split("for event")[0], names)
    assert names["spec"] == spec


def test_mixing_is_copied_too():
    spec = RunSpec.read({}).changed(
        {"mix.kind": "cutmix", "mix.alpha": 0.4, "augment": "standard", "augment.flip": 0.0}
    )
    words = shlex.split(command_line(spec).replace("\\\n", " "))
    assert "--augment" in words
    assert spec_from_options(build_parser().parse_args(words[3:])) == spec
    assert RunSpec.from_text(spec.to_yaml()) == spec
    assert RunSpec.read({}).changed(spec.settings()) == spec


def test_a_part_that_is_left_out_again_takes_its_settings_with_it(monkeypatch):
    monkeypatch.setattr(st, "session_state", {KEY: RunSpec.read({}).changed(PARTS).settings()})
    draft = Draft()
    draft.set("distance.p", 3.0)
    draft.choose("distance", None)
    draft.choose("embedding_regularizer", None)
    assert draft.spec() == RunSpec.read({}).changed(PARTS).changed({"distance": None, "embedding_regularizer": None})
    draft.choose("distance", "lp")
    assert draft.spec().distance.params["p"] == 3.0


FOLLOWED = [
    {"backbone": "efficientnet_lite0"},
    {"backbone": "efficientnet_lite0", "head.kind": "linear", "head.start": "random"},
    {"backbone": "efficientnet_lite0", "head.kind": "linear", "head.embedding_size": 64},
    {"backbone": "efficientnet_lite0", "head.kind": "residual", "head.embedding_size": 128},
    {"backbone": "efficientnet_lite0", "optimizer.backbone_lr": 1e-3, "optimizer.head_lr": 1e-3},
    {"backbone": "efficientnet_lite0", "backbone.freeze": "nothing", "optimizer.lr_scaling": "none"},
    {"backbone": "efficientnet_lite0", "backbone.pretrained": False},
    {"backbone": "timm", "backbone.pretrained": True, "optimizer.schedule": "constant"},
    {"loss": "contrastive", "sampler": "shuffle"},
]


@pytest.mark.parametrize("changes", FOLLOWED, ids=str)
def test_what_follows_from_a_choice_does_not_change_what_a_copy_or_a_link_says(changes, monkeypatch):
    spec = RunSpec.read({}).changed(changes)
    spec = RunSpec.read({}).changed(spec.settings() | changes)
    words = shlex.split(command_line(spec).replace("\\\n", " "))
    assert spec_from_options(build_parser().parse_args(words[3:])) == spec
    monkeypatch.setattr(st, "session_state", {KEY: spec.settings()})
    link = {
        name.removeprefix("s."): parse_url_text(said) for name, said in Draft().differences(spec.settings()).items()
    }
    words = {name for name, plain in spec.settings().items() if isinstance(plain, str)}
    link = {name: "none" if said is None and name in words else said for name, said in link.items()}
    assert RunSpec.read({}).changed(link) == spec


def test_the_link_of_a_pretrained_backbone_is_short(monkeypatch):
    spec = RunSpec.read({}).changed({"backbone": "efficientnet_lite0"})
    monkeypatch.setattr(st, "session_state", {KEY: spec.settings()})
    assert Draft().differences(spec.settings()) == {"s.backbone": "efficientnet_lite0"}


def test_a_draft_follows_its_backbone_where_nobody_had_chosen_otherwise(monkeypatch):
    monkeypatch.setattr(st, "session_state", {KEY: RunSpec.read({}).settings()})
    draft = Draft()
    draft.set("optimizer.schedule", "plateau")
    draft.choose("backbone", "efficientnet_lite0")
    assert draft.get("head.kind") == "residual"
    assert draft.get("optimizer.lr_scaling") == "classes"
    assert draft.get("optimizer.schedule") == "plateau"
    draft.set("backbone.pretrained", False)
    assert draft.get("head.kind") == "linear"
    assert draft.get("backbone.freeze") == "nothing"


@pytest.mark.parametrize(
    "steps",
    [
        [{"loss": "contrastive"}, {"loss": "arcface"}],
        [{"backbone": "efficientnet_lite0"}, {"head.kind": "linear"}, {"backbone.pretrained": False}],
        [{"backbone": "efficientnet_lite0"}, {"head.embedding_size": 32}, {"backbone": "small_conv"}],
        [{"loss": "ntxent"}, {"method": "unsupervised"}, {"method": "metric_only"}],
        [{"optimizer.head_lr": 0.1}, {"backbone": "efficientnet_lite0"}, {"backbone": "mlp"}],
    ],
)
def test_the_lab_and_a_notebook_come_to_the_same_settings(steps, monkeypatch):
    monkeypatch.setattr(st, "session_state", {KEY: RunSpec.read({}).settings()})
    draft = Draft()
    spec = RunSpec.read({})
    for change in steps:
        spec = spec.changed(change)
        draft.change(change)
    in_draft = {name: value for name, value in draft.settings.items() if not name.startswith("@")}
    assert in_draft == spec.settings()
