"""What sets a run apart is said in a person's words, and nothing that is usual is."""

from __future__ import annotations

import pytest

from app.shared.setting_words import changed_words, differing_words, join_words, setting_words
from mlcore.catalogue import registry
from mlcore.spec.run_spec import RunSpec


def spec(**settings):
    return RunSpec.read({"dataset": "digits", "backbone": "small_conv", "loss": "arcface"} | settings)


def test_a_usual_run_says_its_parts_length_and_seed():
    usual = RunSpec.read({})
    assert setting_words(usual) == [
        registry("datasets")[usual.dataset.key].title,
        registry("backbones")[usual.backbone.key].title,
        registry("losses")[usual.loss.key].title,
        "margin 0.5 rad",
        f"{usual.budget.steps} steps",
        "seed 0",
    ]


def test_what_was_set_is_said_with_its_unit_in_the_field_s_words():
    run = spec(
        loss={"key": "arcface", "params": {"margin": 0.3}},
        optimizer={"weight_decay": 0.25},
        head={"kind": "linear", "embedding_size": 2},
        budget={"steps": 1},
        seed=7,
    )
    said = differing_words(run)
    assert said[-2:] == ["1 step", "seed 7"]
    assert {"margin 0.3 rad", "weight decay 0.25", "embedding size 2"} <= set(said)


def test_what_follows_from_a_part_is_not_said():
    assert (
        differing_words(spec(loss="triplet_margin"))[1:] == differing_words(spec())[1:]
    )  # each begins with its margin


@pytest.mark.parametrize("loss", registry("losses"))
def test_every_knob_of_every_loss_is_said_by_its_own_title(loss):
    declared = registry("losses")[loss]
    run = spec(loss=loss)
    for param in declared.params:
        if param.kind == "bool":
            other = run.changed({f"loss.{param.name}": not param.default})
            word = "off" if param.default else "on"
            assert any(said.endswith(f" {word}") for said in differing_words(other)), param.name


def test_a_change_names_what_is_now_and_what_was():
    assert changed_words(spec(), spec()) == []
    assert changed_words(spec(), spec(seed=1)) == ["seed 1 instead of 0"]
    changed = changed_words(spec(), spec(loss={"key": "contrastive", "params": {}}))
    titles = registry("losses")
    assert f"{titles['contrastive'].title} instead of {titles['arcface'].title}" in changed
    assert not [said for said in changed if "margin" in said.replace(titles["contrastive"].title, "").lower()]


def test_a_long_list_says_how_many_more_there_are():
    assert join_words("abc", 3) == "a · b · c"
    assert join_words("abcde", 3) == "a · b · c · 2 more"
