"""A preparation in the making: undo, redo, kept on the disk, and its steps told on the page."""

from __future__ import annotations

import json

import pytest
import streamlit as st
from image_files import classes, image_bytes, picture, tree

from app.data.plan_store import PlanInMaking, Sources, forget_plan, near_duplicate_table, prepare_index, read_index
from mlcore.data.importing import import_path
from mlcore.data.store import find_set

SPLIT = {"step": "split_classes", "held_out": 0.5, "seed": 0}
COUNTS = {"step": "counts", "fewest": 2, "most": None, "undersample": True}


@pytest.fixture
def own_set(tmp_path, monkeypatch):
    """An imported set of three classes of four, with one image twice."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    st.cache_resource.clear()
    folder = classes(tmp_path / "shop")
    tree(folder, {"c0/again.png": image_bytes(picture(0))})
    yield find_set(import_path(folder).name)
    st.cache_resource.clear()


def test_undo_takes_the_last_step_back_and_redo_brings_it_again(own_set):
    making = PlanInMaking(own_set.id)
    making.add(SPLIT)
    making.add(COUNTS)
    making.undo()
    assert making.steps == [SPLIT]
    making.redo()
    assert making.steps == [SPLIT, COUNTS]
    making.clear()
    assert making.steps == []
    making.redo()
    assert making.steps == [SPLIT]


def test_a_new_step_forgets_what_was_undone(own_set):
    making = PlanInMaking(own_set.id)
    making.add(SPLIT)
    making.undo()
    making.add(COUNTS)
    making.redo()
    assert making.steps == [COUNTS]


def test_a_closed_tab_loses_nothing(own_set):
    PlanInMaking(own_set.id).add(SPLIT)
    assert PlanInMaking(own_set.id).steps == [SPLIT]
    forget_plan(own_set.id)
    assert PlanInMaking(own_set.id).steps == []


def test_a_plan_that_another_tab_changed_meanwhile_is_not_written_over(own_set):
    seen = PlanInMaking(own_set.id)
    PlanInMaking(own_set.id).add(SPLIT)
    seen.add(COUNTS)
    seen.clear()
    seen.merge_with(["set-000000000000"])
    assert PlanInMaking(own_set.id).stored() == {"steps": [SPLIT], "with": [], "apart": False}


@pytest.mark.parametrize("text", ["", "[]", "3", '{"steps": '])
def test_a_damaged_plan_is_no_plan(own_set, text):
    making = PlanInMaking(own_set.id)
    making.add(SPLIT)
    making.path.write_text(text)
    assert PlanInMaking(own_set.id).steps == []


def test_a_set_that_was_merged_and_is_gone_is_left_out(own_set):
    making = PlanInMaking(own_set.id)
    making.merge_with(["set-000000000000"])
    assert making.sources == Sources((own_set.id,), False)


def test_the_page_prepares_what_the_library_does(own_set):
    sources, stamps = Sources((own_set.id,)), (own_set.fingerprint,)
    index, (effect,) = prepare_index(sources, stamps, json.dumps({"steps": [SPLIT]}))
    assert (effect.kept_images, set(index["split"])) == (13, {"train", "test"})
    assert len(read_index(sources, stamps)) == 13
    table, complete = near_duplicate_table(sources, stamps, json.dumps({"steps": []}), 0)
    assert complete
    assert {*table["first_file"], *table["second_file"]} == {"c0/0.png", "c0/again.png"}
