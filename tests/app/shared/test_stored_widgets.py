"""Widgets show what is kept, whatever a browser missed, sent late or never had."""

from __future__ import annotations

import pytest
from page_widgets import widget
from streamlit.testing.v1 import AppTest

from app.shared.lessons import LESSONS
from app.shared.stored_widgets import distinct_labels
from mlcore.spec.run_spec import RunSpec

LINK = {
    "s.dataset": "digits",
    "s.dataset.split": "sample",
    "s.backbone": "mlp",
    "s.head.embedding_size": "40",
    "s.loss": "triplet_margin",
    "s.miner": "batch_hard",
    "s.optimizer.name": "lion",
    "s.optimizer.schedule": "cosine",
    "s.watch.evaluate_every": "7",
    "s.second_loss": "ntxent",
    "s.augment": "light",
    "s.head.norm": "batch",
    "s.precision": "bf16",
}


def starts(test: AppTest) -> dict[str, tuple[object, object]]:
    """Of every widget on the left: what a browser shows that has heard only of the last drawing, and what is meant."""
    found = {}
    for element in test.sidebar:
        proto = getattr(element, "proto", None)
        kind = type(element).__name__
        if kind == "Selectbox":
            shown = proto.options[proto.default] if proto.HasField("default") else None
            meant = None if element.index is None else element.options[element.index]
        elif kind in ("NumberInput", "Toggle", "TextInput", "Checkbox"):
            shown, meant = proto.default, element.value
        elif kind == "Slider":
            shown, meant = proto.default[0], element.value
        elif kind == "SelectSlider":
            shown, meant = proto.options[int(proto.default[0])], str(element.value)
        elif kind == "ButtonGroup":
            shown = [proto.options[place].content for place in proto.default]
            meant = [proto.options[place].content for place in element.indices]
        elif kind == "Multiselect":
            shown, meant = [proto.options[place] for place in proto.default], element.value
        else:
            continue
        found[element.key] = (shown, meant)
    return found


def test_a_browser_that_missed_the_first_drawing_shows_the_same_settings(open_page):
    test = open_page("lab", **LINK)
    test.run()
    found = starts(test)
    assert len(found) > 30
    assert {name: pair for name, pair in found.items() if pair[0] != pair[1]} == {}
    assert found["lab.set.loss"][0] == "Triplet margin"
    assert found["lab.set.dataset.split"][0] == ["Images"]
    assert found["lab.set.head.embedding_size"][0] == "40"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_a_lesson_from_the_list_is_the_lesson_by_its_link(open_page, lesson):
    by_link = open_page("lab", lesson=lesson.key)
    from_list = open_page("lab", **LINK)
    widget(from_list.selectbox, "lab.lesson").set_value(lesson.key).run()
    from_list.run()
    wanted = RunSpec.read({}).changed(lesson.settings).settings()
    for test in (by_link, from_list):
        assert not test.exception
        draft = test.session_state["lab.draft"]
        assert {name: draft[name] for name in wanted} == wanted
        assert {name: pair for name, pair in starts(test).items() if pair[0] != pair[1]} == {}
        assert dict(test.query_params) in ({"lesson": lesson.key}, {"lesson": [lesson.key]})


def test_what_is_changed_in_a_lesson_is_in_the_link_beside_it(open_page):
    test = open_page("lab", lesson="arcface-2d")
    widget(test.number_input, "lab.set.budget.steps").set_value(77).run()
    link = {name: value[0] if isinstance(value, list) else value for name, value in dict(test.query_params).items()}
    assert (link["lesson"], link["s.budget.steps"], link["s.loss.margin"]) == ("arcface-2d", "77", "0.3")
    again = open_page("lab", **link)
    assert again.session_state["lab.draft"] == test.session_state["lab.draft"]


def test_losses_to_compare_with_come_back_with_the_link(open_page):
    test = open_page("lab")
    widget(test.multiselect, "lab.others").set_value(["proxy_anchor", "supcon"]).run()
    assert test.query_params["compare"] in ("proxy_anchor,supcon", ["proxy_anchor,supcon"])
    again = open_page("lab", compare="proxy_anchor,supcon,no_such_loss")
    assert widget(again.multiselect, "lab.others").value == ["proxy_anchor", "supcon"]


def changing_options() -> None:
    import streamlit as st

    from app.shared.stored_widgets import (
        on_or_off,
        slid_number,
        stored_multiselect,
        stored_number_input,
        stored_segments,
        stored_selectbox,
    )

    kept = st.session_state.setdefault(
        "kept", {"list": "b", "few": "b", "some": ["b"], "typed": 5, "slid": 5, "on": True}
    )
    options = st.session_state.get("options", ["a", "b", "c"])
    kept["list"] = stored_selectbox("list", "List", options, kept["list"])
    kept["few"] = stored_segments("few", "Few", options, kept["few"])
    kept["some"] = stored_multiselect("some", "Some", options, kept["some"], words=str)
    top = st.session_state.get("top", 10)
    kept["typed"] = stored_number_input("typed", "Typed", 0, top, kept["typed"])
    kept["slid"] = slid_number("slid", "Slid", 0, top, kept["slid"])
    kept["on"] = on_or_off("on", "On", kept["on"])


KEPT = {"list": "b", "few": "b", "some": ["b"], "typed": 5, "slid": 5, "on": True}


@pytest.mark.parametrize("options", [["a"], ["c", "b", "a"], ["a", "c"], ["x", "y", "b"]])
def test_options_that_come_and_go_change_nothing_that_is_kept(options):
    test = AppTest.from_function(changing_options).run()
    test.session_state["options"] = options
    test.session_state["top"] = 3
    test.run().run()
    assert not test.exception
    kept = test.session_state["kept"]
    assert kept == KEPT | {"some": ["b"] if "b" in options else []}
    if "b" not in options:
        assert widget(test.selectbox, "list").value is None
        assert "b is not offered here" in widget(test.selectbox, "list").placeholder
    test.session_state["options"] = ["a", "b", "c"]
    test.run()
    assert widget(test.selectbox, "list").value == widget(test.button_group, "few").value == "b"


def test_what_another_hand_changes_is_shown_and_what_the_person_then_does_counts():
    test = AppTest.from_function(changing_options).run()
    widget(test.selectbox, "list").set_value("a").run()
    assert test.session_state["kept"]["list"] == "a"
    test.session_state["kept"] |= {"list": "c", "typed": 2, "on": False}
    test.run().run()
    assert test.session_state["kept"]["list"] == widget(test.selectbox, "list").value == "c"
    assert widget(test.number_input, "typed").value == 2
    assert widget(test.toggle, "on").value is False
    widget(test.selectbox, "list").set_value("b").run()
    widget(test.toggle, "on").set_value(True).run()
    assert (test.session_state["kept"]["list"], test.session_state["kept"]["on"]) == ("b", True)


def widget_without_a_value() -> None:
    import streamlit as st

    from app.shared.stored_widgets import value_widget

    st.session_state["found"] = value_widget(lambda start, key: None, "some", "kept")


def test_none_from_a_widget_stands_for_the_kept_value():
    assert AppTest.from_function(widget_without_a_value).run().session_state["found"] == "kept"


def test_options_with_the_same_words_are_told_apart():
    words = distinct_labels([1, 2, 3], {1: "photos", 2: "photos", 3: "other"}.get)
    assert [words(option) for option in (1, 2, 3)] == ["photos", "photos (2)", "other"]
