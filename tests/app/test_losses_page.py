"""The Losses page: every declared loss opens by its link, is found by its names, and its pictures follow the knobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import curves, explain
from mlcore.losses import LOSSES

PAGE = Path(__file__).resolve().parents[2] / "pages" / "losses.py"
PICTURES = {"proxies": 2, "pairs": 5, "nothing": 0}


@pytest.fixture(autouse=True)
def drawn(monkeypatch) -> dict[str, dict]:
    """The figures that the page's last run drew, by their key."""
    figures: dict[str, dict] = {}
    monkeypatch.setattr(explain, "chart", lambda figure, key, alt: figures.update({key: json.loads(figure.to_json())}))
    return figures


def open_page(**link: str) -> AppTest:
    page = AppTest.from_file(str(PAGE), default_timeout=60)
    for name, words in link.items():
        page.query_params[name.replace("__", ".")] = words
    page.run()
    assert not page.exception
    return page


def listed(page: AppTest) -> list[str]:
    return [button.label for button in page.sidebar.button]


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_opens_by_its_link_with_formula_knobs_and_pictures(spec, drawn):
    page = open_page(loss=spec.key)
    assert page.query_params["loss"] == spec.key
    assert page.markdown[0].value == f"### {spec.title}"
    assert page.latex[0].value.strip("$\n ") == spec.formula
    assert len(drawn) == PICTURES[curves.compares_with(spec)]
    for param in spec.params:
        switch = ".on" if param.knob.none else ""
        assert explain.knob_key(spec, param) + switch in page.session_state
    assert not page.error


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_says_what_it_does_and_what_to_expect(spec):
    assert explain.paragraphs(spec)[0].endswith(".")
    assert explain.expectation(spec)
    assert not any("Shapes:" in words or "Raises:" in words for words in explain.paragraphs(spec))


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_letter_of_a_formula_that_is_a_knob_is_explained_with_its_value(spec):
    words = explain.symbol_words(spec, spec.defaults())
    for param in spec.params:
        if param.knob.symbol:
            assert param.knob.symbol in spec.formula
            usual = param.knob.none if param.default is None else f"{param.default:g}"
            assert f"${param.knob.symbol}$ {param.name.replace('_', ' ')} = **{usual}" in words


def test_without_a_link_the_first_loss_shows_and_all_are_listed():
    page = open_page()
    assert page.query_params["loss"] == explain.FIRST
    assert sorted(listed(page)) == sorted(spec.title for spec in LOSSES.values())


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("curricular face", ["CurricularFace"]),
        ("AM-Softmax", ["CosFace"]),
        ("khosla", ["SupCon"]),
        ("TripletMarginWithDistance", ["Triplet margin"]),
        ("1904.06627", ["Multi-similarity"]),
        ("no such thing", []),
    ],
)
def test_a_loss_is_found_by_its_names_its_paper_and_its_family(asked, found):
    page = open_page()
    page.sidebar.text_input[0].set_value(asked).run()
    assert listed(page) == found


def test_a_family_is_found_by_its_name():
    page = open_page(loss="triplet_margin")
    page.sidebar.text_input[0].set_value("triplet").run()
    assert {spec.title for spec in LOSSES.values() if spec.family == "triplet"} <= set(listed(page))
    assert "SupCon" not in listed(page)


def test_pressing_a_loss_shows_it_and_puts_it_into_the_link():
    page = open_page()
    page.button(key="losses.pick.contrastive").click().run()
    assert not page.exception
    assert page.markdown[0].value == "### Contrastive"
    assert page.query_params["loss"] == "contrastive"


def test_an_unknown_loss_in_the_link_is_said_and_another_shown():
    page = open_page(loss="nothing_like_it")
    assert "not here" in page.warning[0].value
    assert page.query_params["loss"] == explain.FIRST


def test_a_knob_moves_the_pictures_the_legend_and_the_link_at_once(drawn):
    page = open_page(loss="cosface")
    before = dict(drawn)
    page.slider(key="losses.knob.cosface.margin").set_value(0.2).run()
    assert page.query_params["k.margin"] == "0.2"
    assert any("= **0.2 (cosine)**" in caption.value for caption in page.caption)
    assert drawn.keys() == before.keys()
    assert all(drawn[key] != then for key, then in before.items())


def test_a_link_with_knob_values_shows_them():
    page = open_page(loss="arcface", k__margin="0.3", k__scale="16")
    assert page.slider(key="losses.knob.arcface.margin").value == 0.3
    assert page.number_input(key="losses.knob.arcface.scale").value == 16.0


def test_a_link_with_a_value_out_of_range_is_told_and_the_defaults_stay():
    page = open_page(loss="arcface", k__margin="28.6")
    assert "0.499" in page.toast[0].value.replace("\\", "")
    assert page.slider(key="losses.knob.arcface.margin").value == 0.5
    assert "k.margin" not in page.query_params


def test_knobs_come_back_with_their_loss():
    page = open_page(loss="arcface")
    page.slider(key="losses.knob.arcface.margin").set_value(0.9).run()
    page.button(key="losses.pick.cosface").click().run()
    assert "k.margin" not in page.query_params
    page.button(key="losses.pick.arcface").click().run()
    assert page.slider(key="losses.knob.arcface.margin").value == 0.9
    assert page.query_params["k.margin"] == "0.9"


def test_reset_brings_the_defaults_back():
    page = open_page(loss="arcface", k__margin="0.3")
    page.button(key="losses.reset").click().run()
    assert page.slider(key="losses.knob.arcface.margin").value == 0.5
    assert "k.margin" not in page.query_params


def test_the_angle_that_is_held_still_is_in_the_link_and_moves_the_picture(drawn):
    page = open_page(loss="arcface")
    before = dict(drawn)
    page.slider(key="losses.other").set_value(60).run()
    assert any(drawn[key] != then for key, then in before.items())
    assert open_page(loss="arcface", losses__other="60").slider(key="losses.other").value == 60


def lab_after_trying() -> None:
    import streamlit as st

    from app.draft import Draft
    from app.explain import take_to_the_lab
    from mlcore.losses import LOSSES

    draft = Draft()
    draft.choose("loss", "arcface")
    draft.set("loss.margin", 0.9)
    draft.choose("loss", "cosface")
    draft.set("seed", 7)
    st.session_state["lab.set.loss"] = "cosface"
    st.session_state["lab.set.loss.arcface.margin"] = 0.9
    take_to_the_lab(LOSSES["arcface"], {"margin": 0.2, "scale": 32.0})
    left = [key for key in st.session_state if str(key).startswith("lab.set.loss")]
    st.session_state["seen"] = Draft().knobs("loss"), Draft().spec().loss, Draft().get("seed"), left


def test_trying_a_loss_puts_it_with_its_values_into_the_labs_draft_and_keeps_the_rest():
    page = AppTest.from_function(lab_after_trying, default_timeout=60).run()
    assert not page.exception
    knobs, loss, seed, left = page.session_state["seen"]
    assert knobs == loss.params == LOSSES["arcface"].defaults() | {"margin": 0.2, "scale": 32.0}
    assert loss.key == "arcface"
    assert seed == 7
    assert left == []


def lab_after_trying_a_loss_that_wants_another_sampler() -> None:
    import streamlit as st

    from app.draft import Draft
    from app.explain import take_to_the_lab
    from mlcore.losses import LOSSES
    from mlcore.runs.spec import RunSpec

    draft = Draft()
    for key in ("supcon", "normalized_softmax"):
        take_to_the_lab(LOSSES[key], LOSSES[key].defaults())
        st.session_state[key] = draft.get("sampler"), RunSpec.read({"loss": key}).sampler.key


def test_trying_a_loss_brings_what_is_usual_for_it_as_choosing_it_in_the_lab_does():
    page = AppTest.from_function(lab_after_trying_a_loss_that_wants_another_sampler, default_timeout=60).run()
    assert not page.exception
    for key in ("supcon", "normalized_softmax"):
        taken, usual = page.session_state[key]
        assert taken == usual
