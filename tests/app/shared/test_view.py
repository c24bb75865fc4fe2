"""The view is the session's; the URL follows it, and is followed when a person goes elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app.shared.view import View, pack_ids, unpack_ids


def script() -> None:
    import streamlit as st

    from app.shared.view import View, leave_runs, record_page, view_run

    record_page(st.session_state.get("page", "Lab"))
    st.button("start", on_click=view_run, args=("r1",))
    st.button("umap", on_click=lambda: View().with_changes(method="umap-2d"))
    st.button("delete", on_click=leave_runs, args=(["r1"],))
    if st.session_state.get("page", "Lab") == "Lab":
        view = View.read()
        st.text(f"{view.run} {view.method} {view.step}")


@pytest.fixture
def test() -> AppTest:
    return AppTest.from_function(script).run()


def press(test: AppTest, label: str) -> AppTest:
    return next(button for button in test.button if button.label == label).click().run()


def shown(test: AppTest) -> str:
    return test.text[0].value


def url_is(test: AppTest, **names: str) -> None:
    test.query_params.clear()
    for name, text in names.items():
        test.query_params[name] = text


def url_of(test: AppTest) -> dict[str, str]:
    return {name: text if isinstance(text, str) else text[0] for name, text in test.query_params.items()}


def test_a_new_session_shows_what_its_url_names():
    test = AppTest.from_function(script)
    url_is(test, run="r7", step="30", map="pca-2d", queries="nonsense")
    assert shown(test.run()) == "r7 pca-2d 30"


def test_a_change_is_shown_and_written_to_the_url_beside_the_names_of_others(test):
    url_is(test, **{"s.loss": "triplet"})
    press(test, "start")
    assert shown(test) == "r1 None None"
    assert url_of(test) == {"run": "r1", "s.loss": "triplet"}


def test_a_message_of_a_browser_that_has_not_heard_of_the_change_does_not_undo_it(test):
    press(test, "start")
    url_is(test)
    press(test, "umap")
    assert shown(test) == "r1 umap-2d None"
    assert url_of(test) == {"run": "r1", "map": "umap-2d"}
    for stale in ({}, {"run": "r1"}):
        url_is(test, **stale)
        assert shown(test.run()) == "r1 umap-2d None"


def test_a_message_that_was_held_back_does_not_undo_a_change_that_the_browser_has_confirmed(test):
    press(test, "start").run()
    url_is(test)
    assert shown(test.run()) == "r1 None None"
    assert url_of(test) == {"run": "r1"}


def test_going_back_is_followed_after_a_while(test, monkeypatch):
    press(test, "start").run()
    monkeypatch.setattr("app.shared.view.STALE_S", 0.0)
    url_is(test)
    assert shown(test.run()) == "None None None"


def test_opening_a_run_again_from_another_page_is_followed_at_once(test):
    press(test, "start").run()
    press(test, "delete").run()
    test.session_state["page"] = "Runs"
    test.run()
    test.session_state["page"] = "Lab"
    url_is(test, run="r1")
    assert shown(test.run()) == "r1 None None"


def test_a_link_is_followed_at_once(test):
    press(test, "start")
    url_is(test, run="r2")
    assert shown(test.run()) == "r2 None None"


def test_coming_back_from_another_page_shows_the_view_that_was_left(test):
    press(test, "start").run()
    test.session_state["page"] = "Losses"
    url_is(test)
    test.run()
    test.session_state["page"] = "Lab"
    url_is(test)
    assert shown(test.run()) == "r1 None None"
    assert url_of(test) == {"run": "r1"}
    url_is(test)
    assert shown(test.run()) == "r1 None None"


def test_who_looked_at_a_deleted_run_looks_at_the_preview(test):
    press(test, "start").run()
    assert shown(press(test, "delete")) == "None None None"
    assert url_of(test) == {}


def view_script() -> None:
    import streamlit as st

    from app.shared.view import View

    view = View.read()
    st.text(f"{view.hidden} {view.angles} {view.lasso[:3]} {len(view.lasso)}")
    st.button("lasso", on_click=lambda: View().with_changes(lasso=tuple(st.session_state["ids"])))


def test_hidden_classes_angles_and_a_lasso_come_back_with_a_link():
    test = AppTest.from_function(view_script)
    url_is(test, run="r7", hidden="3,5", angles="own_proxy", lasso=pack_ids((4, 90, 20_000)))
    assert shown(test.run()) == "(3, 5) own_proxy (4, 90, 20000) 3"
    assert url_of(test)["lasso"] == pack_ids((4, 90, 20_000))


def test_a_lasso_around_very_many_is_kept_in_the_session_and_not_in_the_link():
    test = AppTest.from_function(view_script).run()
    many = np.flatnonzero(np.random.default_rng(0).random(60_000) < 0.4).tolist()
    test.session_state["ids"] = many
    press(test, "lasso")
    assert shown(test).endswith(f" {len(many)}")
    assert "lasso" not in url_of(test)
    assert not View(lasso=tuple(many)).lasso_fits_link()


@given(st.sets(st.integers(0, 2**31)))
def test_a_lasso_survives_its_packing(ids):
    lasso = tuple(sorted(ids))
    assert unpack_ids(pack_ids(lasso)) == lasso


@given(st.text(max_size=80))
def test_a_lasso_that_is_none_selects_nothing_or_whole_ids(text):
    assert all(isinstance(number, int) and number >= 0 for number in unpack_ids(text))
