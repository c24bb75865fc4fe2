"""One record for the app, the command line and a notebook; what is wrong with it is said in a sentence."""

import itertools
import json

import pytest
import yaml

from mlcore.catalogue import registry
from mlcore.spec.defaults import PART_ROOMS
from mlcore.spec.overrides import apply_settings
from mlcore.spec.run_spec import RunSpec


def test_a_spec_survives_yaml_and_json(quick_spec):
    assert RunSpec.from_text(quick_spec.to_yaml()) == quick_spec
    assert RunSpec.from_text(quick_spec.model_dump_json()) == quick_spec


def test_every_knob_of_every_chosen_part_is_stored():
    spec = RunSpec.read({"loss": "contrastive"})
    assert spec.loss.params == {"pos_margin": 0.0, "neg_margin": 1.0} | {
        name: value for name, value in spec.loss.params.items() if name not in ("pos_margin", "neg_margin")
    }
    assert {"pos_margin", "neg_margin"} <= set(spec.loss.params)


def test_an_augmentation_may_be_a_bare_word_as_in_old_runs():
    old = json.loads(RunSpec.read({}).model_dump_json()) | {"augment": "light"}
    for added in ("mix", "precision"):
        del old[added]
    spec = RunSpec.read(old)
    assert (spec.augment.key, spec.mix.kind, spec.precision) == ("light", "none", "fp32")
    assert RunSpec.read({}).changed({"augment": "light"}) == spec
    assert RunSpec.read({"augment": "strong"}).changed({"augment.flip": 0.0}).augment.params["flip"] == 0.0


def test_the_digest_ignores_the_name_and_sees_everything_else(quick_spec):
    assert quick_spec.changed({"name": "another"}).digest() == quick_spec.digest()
    assert quick_spec.changed({"loss.margin": 0.4}).digest() != quick_spec.digest()


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"loss": "arcfase"}, "Did you mean 'arcface'"),
        ({"loss": {"key": "arcface", "params": {"margn": 0.1}}}, "Did you mean 'margin'"),
        ({"loss": {"key": "arcface", "params": {"margin": 28.6}}}, "If that is degrees, pass 0.499"),
        ({"optimiser": {}}, "Did you mean 'optimizer'"),
        ({"optimizer": {"head_lrr": 1}}, "Did you mean 'head_lr'"),
        ({"budget": {"steps": -1}}, "budget.steps"),
        ({"seed": "many"}, "seed"),
        ({"sampler": {"key": "m_per_class", "batch_size": 30}}, "multiple of m"),
        ({"optimizer": {"head_lr": float("nan")}}, "optimizer.head_lr"),
        (
            {"backbone": {"key": "mlp", "freeze": "everything"}, "head": {"kind": "none"}, "loss": "supcon"},
            "nothing would",
        ),
        ({"loss": {"key": "os.system"}}, "There is no loss"),
        ({"loss": 3}, "There is no loss|must be a name"),
        ({"augment": "lite"}, "There is no augmentation 'lite'. Did you mean 'light'"),
        ({"augment": {"key": "custom", "params": {"turn": 12}}}, "If that is degrees, pass 0.209"),
        ({"backbone": {"freeze": "everything"}, "augment": "strong"}, "augment must be 'none'; got 'strong'"),
        ({"optimizer": {"ema": 1.5}}, "optimizer.ema"),
        ({"optimizer": {"accumulate": 0}}, "optimizer.accumulate"),
        ({"head": {"dropout": 1.0}}, "head.dropout"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(record, words):
    with pytest.raises(ValueError, match=words) as caught:
        RunSpec.read(record)
    assert "pydantic" not in str(caught.value)


def test_dotted_settings_reach_parts_and_sections():
    spec = RunSpec.read({}).changed(
        {"loss.margin": 0.1, "loss": "cosface", "head.embedding_size": 2, "budget.steps": 7, "seed": 3}
    )
    assert (spec.loss.key, spec.loss.params["margin"]) == ("cosface", 0.1)
    assert (spec.head.embedding_size, spec.budget.steps, spec.seed) == (2, 7, 3)


BESIDE = [
    {},
    {"loss": "contrastive"},
    {"backbone": "efficientnet_lite0"},
    {"head.embedding_size": 32},
    {"teacher.run": "abc"},
]


@pytest.mark.parametrize("section", PART_ROOMS)
def test_settings_that_are_not_checked_are_those_that_are(section):
    usual, compared = RunSpec.read({}), 0
    for key, beside in itertools.product(registry(PART_ROOMS[section]), BESIDE):
        change = {**beside, section: key}
        try:
            checked = usual.changed(change).settings()
        except ValueError:
            continue  # they do not go together
        assert usual.settings_with(change) == checked
        compared += 1
    assert compared


def test_settings_need_make_no_run_yet():
    settings = RunSpec.read({}).settings_with({"backbone": "mlp", "head.kind": "none", "sampler.m": 10**6})
    assert settings["sampler.m"] == 10**6
    with pytest.raises(ValueError, match="no setting 'los'"):
        RunSpec.read({}).settings_with({"los": "arcface"})


def test_changing_a_part_drops_the_knobs_of_the_one_before():
    changed = apply_settings(RunSpec, RunSpec.read({"loss": "arcface"}).model_dump(mode="json"), {"loss": "supcon"})
    assert changed["loss"] == {"key": "supcon"}


def test_changing_the_data_keeps_the_split_and_drops_the_fingerprint():
    spec = RunSpec.read({"dataset": {"key": "digits", "split": "sample", "fingerprint": "abc"}})
    changed = spec.changed({"dataset": "glyphs"})
    assert (changed.dataset.split, changed.dataset.fingerprint) == ("sample", "")


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "!!python/object/apply:os.system ['true']",
        "loss: arcface\nloss: cosface",
        "- 1",
        "",
        "{" * 2000,
        "x: 1\n" * 60_000,
        "optimizer: {head_lr: 1e400}",
    ],
)
def test_a_settings_file_from_outside_is_plain_or_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any plain sentence will do
        RunSpec.from_text(text)


def test_yaml_reads_as_a_person_would_write_it():
    spec = RunSpec.from_text("dataset: glyphs\nloss:\n  key: arcface\n  params: {margin: 0.3}\nbudget: {steps: 60}\n")
    assert spec.loss.params["margin"] == 0.3
    assert yaml.safe_load(spec.to_yaml())["dataset"]["key"] == "glyphs"
    assert json.loads(spec.model_dump_json())["budget"]["steps"] == 60
