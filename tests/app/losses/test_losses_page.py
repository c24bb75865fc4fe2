"""The Losses page: every declared loss opens by its link, is found by its names, and its pictures follow the knobs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from page_widgets import widget
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from app.losses import curves, loss_page, loss_pictures
from app.losses.loss_search import search
from app.losses.pair_weights import pair_weights, weighs_pairs
from mlcore.losses import LOSSES

PAGE = Path(__file__).resolve().parents[3] / "pages" / "losses.py"
PICTURES = {"proxies": {"losses.penalty", "losses.circle"}, "nothing": set()}
VIEWS = {
    "One pair moves": {"losses.penalty.positive", "losses.penalty.negative"},
    "Both move": {"losses.pull", "losses.push"},
    "Weight of every pair": {"losses.weights", "losses.shares"},
}


@pytest.fixture(autouse=True)
def drawn(monkeypatch) -> dict[str, dict]:
    """The figures that the page's last run drew, by their key."""
    figures: dict[str, dict] = {}
    monkeypatch.setattr(
        loss_pictures, "chart", lambda figure, key, alt: figures.update({key: json.loads(figure.to_json())})
    )
    return figures


def open_page(**link: str) -> AppTest:
    page = AppTest.from_file(str(PAGE), default_timeout=PATIENCE_S)
    for name, words in link.items():
        page.query_params[name.replace("__", ".")] = words
    page.run()
    assert not page.exception
    return page


def listed(page: AppTest) -> list[str]:
    return [button.label for button in page.sidebar.button]


def expected_pictures(spec) -> set[str]:
    """What the page draws of a loss at first."""
    compared = curves.compares_with(spec)
    if compared == "nothing" and weighs_pairs(spec):
        return {"losses.weights"} if pair_weights(spec, {}, 0.5) else set()
    return PICTURES.get(compared, VIEWS["One pair moves"])


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_opens_by_its_link_with_formula_knobs_and_pictures(spec, drawn):
    page = open_page(loss=spec.key)
    assert page.query_params["loss"] == spec.key
    assert page.markdown[0].value == f"### {spec.title}"
    assert page.latex[0].value.strip("$\n ") == spec.formula
    assert drawn.keys() == expected_pictures(spec)
    for param in spec.params:
        switch = ".on" if param.knob.none else ""
        assert f"losses.knob.{spec.key}.{param.name}{switch}" in page.session_state
    assert not page.error


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_says_what_it_does_and_what_to_expect(spec):
    assert loss_page.loss_paragraphs(spec)[0].endswith(".")
    assert loss_page.expectation_paragraph(spec)
    assert not any("Shapes:" in words or "Raises:" in words for words in loss_page.loss_paragraphs(spec))


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_letter_of_a_formula_that_is_a_knob_is_explained_with_its_value(spec):
    words = loss_page.symbol_words(spec, spec.defaults())
    for param in spec.params:
        if param.knob.symbol:
            assert param.knob.symbol in spec.formula
            usual = param.knob.none if param.default is None else f"{param.default:g}"
            assert f"${param.knob.symbol}$ {param.title[0].lower()}{param.title[1:]} = **{usual}" in words


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_no_word_of_a_formula_runs_into_a_command_before_it(spec):
    assert not re.search(r"\\q?quad[a-zA-Z]", spec.formula)


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_no_knob_is_called_by_a_letter(spec):
    assert all(len(param.title) > 3 for param in spec.params)


def test_without_a_link_the_first_loss_shows_and_all_are_listed():
    page = open_page()
    assert page.query_params["loss"] == loss_page.FIRST
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


def titles(asked: str) -> tuple[list[str], bool]:
    found, exact = search(list(LOSSES.values()), asked)
    return [spec.title for spec in found], exact


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_is_found_by_each_of_its_names_and_by_its_paper(spec):
    for asked in (spec.title, spec.title.upper(), spec.key, spec.load().__name__, *spec.aliases, spec.paper):
        found, exact = titles(asked)
        assert exact, asked
        assert spec.title in found, asked


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("Kim et al. 2020", ["Proxy anchor"]),
        ("Wang, ICCV 2017", ["Angular", "Angular N-pairs"]),
        ("https://arxiv.org/abs/1904.06627v2", ["Multi-similarity"]),
        ("arXiv 1904.06627", ["Multi-similarity"]),
        ("Dąbrowski", ["Centroid triplet"]),
        ("SIMCLR", ["NT-Xent"]),
    ],
)
def test_an_author_a_year_or_an_arxiv_number_in_any_form_finds_the_loss(asked, found):
    assert titles(asked) == (found, True)


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("arcfase", "ArcFace"),
        ("multisimilarty", "Multi-similarity"),
        ("multi similarty", "Multi-similarity"),
        ("tripplet margin", "Triplet margin"),
        ("contrastiv loss", "Contrastive"),
        ("CurricularFase", "CurricularFace"),
        ("Kohsla", "SupCon"),
        ("lifted strucure", "Lifted structure"),
    ],
)
def test_a_misspelt_word_finds_the_nearest(asked, first):
    found, _ = titles(asked)
    assert first in found
    assert len(found) < len(LOSSES) / 3


def test_a_search_that_is_met_only_nearly_says_so_and_one_that_is_not_says_what_to_do():
    page = open_page()
    page.sidebar.text_input[0].set_value("arcfase").run()
    assert any("Nearest" in caption.value for caption in page.sidebar.caption)
    assert "ArcFace" in listed(page)
    page.sidebar.text_input[0].set_value("<b>zzzzqq</b>").run()
    assert listed(page) == []
    words = page.sidebar.caption[0].value
    assert f"empty search lists all {len(LOSSES)}" in words
    assert "<b>" not in words


def test_families_say_how_many_losses_they_have_and_how_many_of_them_fit():
    page = open_page()
    sizes = [sum(spec.family == family for spec in LOSSES.values()) for family in loss_page.FAMILIES]
    expected = [f"{title} ({size})" for title, size in zip(loss_page.FAMILIES.values(), sizes, strict=True)]
    families = {family.label: family.proto.expanded for family in page.sidebar.expander}
    assert sorted(families) == sorted(expected)
    assert [label for label, is_open in families.items() if is_open] == [f"{loss_page.FAMILIES['proxy']} ({sizes[0]})"]
    page.sidebar.text_input[0].set_value("supcon").run()
    found = [(family.label, family.proto.expanded) for family in page.sidebar.expander]
    assert found == [(f"{loss_page.FAMILIES['pair']} (1 of {sizes[1]})", True)]


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


@pytest.mark.parametrize("view", VIEWS)
def test_a_loss_of_pairs_shows_one_screen_of_pictures_at_a_time_and_the_link_says_which(view, drawn):
    page = open_page(loss="multi_similarity", losses__view=view)
    assert drawn.keys() == VIEWS[view]
    before = dict(drawn)
    widget(page.number_input, "losses.knob.multi_similarity.beta").set_value(4.0).run()
    assert not page.exception
    assert drawn.keys() == before.keys()
    assert any(drawn[key] != then for key, then in before.items())


def test_the_weights_of_all_pairs_are_summed_up_in_a_sentence_and_follow_the_batch(drawn):
    page = open_page(loss="contrastive", losses__view="Weight of every pair")
    before = drawn["losses.weights"]
    sentence = next(caption.value for caption in page.caption if "of all weight" in caption.value)
    page.slider(key="losses.classes").set_value(90).run()
    assert drawn["losses.weights"] != before
    assert sentence != next(caption.value for caption in page.caption if "of all weight" in caption.value)


def test_a_loss_that_one_anchor_cannot_show_still_shows_the_weights_of_a_batch(drawn):
    page = open_page(loss="histogram")
    assert LOSSES["histogram"].unpictured in page.info[0].value
    assert drawn.keys() == {"losses.weights"}


def test_a_loss_that_weighs_no_pairs_says_so(drawn):
    page = open_page(loss="vicreg")
    assert not drawn
    assert any("single pairs no weight" in caption.value for caption in page.caption)


def test_an_unknown_loss_in_the_link_is_said_and_another_shown():
    page = open_page(loss="nothing_like_it")
    assert "not here" in page.warning[0].value
    assert page.query_params["loss"] == loss_page.FIRST


def test_a_knob_moves_the_pictures_the_legend_and_the_link_at_once(drawn):
    page = open_page(loss="cosface")
    before = dict(drawn)
    widget(page.slider, "losses.knob.cosface.margin").set_value(0.2).run()
    assert page.query_params["k.margin"] == "0.2"
    assert any("= **0.2 (cosine)**" in caption.value for caption in page.caption)
    assert drawn.keys() == before.keys()
    assert all(drawn[key] != then for key, then in before.items())


def test_a_link_with_knob_values_shows_them():
    page = open_page(loss="arcface", k__margin="0.3", k__scale="16")
    assert widget(page.slider, "losses.knob.arcface.margin").value == 0.3
    assert widget(page.number_input, "losses.knob.arcface.scale").value == 16.0


def test_a_link_with_a_value_out_of_range_is_told_and_the_defaults_stay():
    page = open_page(loss="arcface", k__margin="28.6")
    assert "0.499" in page.toast[0].value.replace("\\", "")
    assert widget(page.slider, "losses.knob.arcface.margin").value == 0.5
    assert "k.margin" not in page.query_params


def test_knobs_come_back_with_their_loss():
    page = open_page(loss="arcface")
    widget(page.slider, "losses.knob.arcface.margin").set_value(0.9).run()
    page.button(key="losses.pick.cosface").click().run()
    assert "k.margin" not in page.query_params
    page.button(key="losses.pick.arcface").click().run()
    assert widget(page.slider, "losses.knob.arcface.margin").value == 0.9
    assert page.query_params["k.margin"] == "0.9"


def test_reset_brings_the_defaults_back():
    page = open_page(loss="arcface", k__margin="0.3")
    page.button(key="losses.reset").click().run()
    assert widget(page.slider, "losses.knob.arcface.margin").value == 0.5
    assert "k.margin" not in page.query_params


def test_the_angle_that_is_held_still_is_in_the_link_and_moves_the_picture(drawn):
    page = open_page(loss="arcface")
    before = dict(drawn)
    page.slider(key="losses.other").set_value(60).run()
    assert any(drawn[key] != then for key, then in before.items())
    assert open_page(loss="arcface", losses__other="60").slider(key="losses.other").value == 60


def test_a_knob_and_another_loss_can_follow_after_an_angle_is_in_the_link():
    page = open_page(loss="arcface", losses__other="60")
    widget(page.slider, "losses.knob.arcface.margin").set_value(0.9).run()
    assert not page.exception
    assert page.query_params["k.margin"] == "0.9"
    page.button(key="losses.pick.cosface").click().run()
    assert not page.exception
    assert page.query_params["loss"] == "cosface"
    assert "k.margin" not in page.query_params
    assert page.query_params["losses.other"] == "60"


def lab_after_trying() -> None:
    import streamlit as st

    from app.losses.loss_page import take_to_the_lab
    from app.shared.controls import part_choice, part_knobs
    from app.shared.draft import Draft
    from mlcore.losses import LOSSES

    def loss_widgets(draft: Draft) -> None:
        part_knobs(draft, "loss", part_choice(draft, "loss", "Loss"))

    draft = Draft()
    draft.choose("loss", "arcface")
    draft.set("loss.margin", 0.9)
    draft.choose("loss", "cosface")
    draft.set("seed", 7)
    loss_widgets(draft)
    take_to_the_lab(LOSSES["arcface"], {"margin": 0.2, "scale": 32.0})
    loss_widgets(draft)
    st.session_state["seen"] = Draft().knobs("loss"), Draft().spec().loss, Draft().get("seed")


def test_trying_a_loss_puts_it_with_its_values_into_the_labs_draft_and_keeps_the_rest():
    page = AppTest.from_function(lab_after_trying, default_timeout=PATIENCE_S).run()
    assert not page.exception
    knobs, loss, seed = page.session_state["seen"]
    assert knobs == loss.params == LOSSES["arcface"].defaults() | {"margin": 0.2, "scale": 32.0}
    assert loss.key == "arcface"
    assert seed == 7


def lab_after_trying_a_loss_that_wants_another_sampler() -> None:
    import streamlit as st

    from app.losses.loss_page import take_to_the_lab
    from app.shared.draft import Draft
    from mlcore.losses import LOSSES
    from mlcore.spec.run_spec import RunSpec

    draft = Draft()
    for key in ("supcon", "normalized_softmax"):
        take_to_the_lab(LOSSES[key], LOSSES[key].defaults())
        st.session_state[key] = draft.get("sampler"), RunSpec.read({"loss": key}).sampler.key


def test_trying_a_loss_brings_what_is_usual_for_it_as_choosing_it_in_the_lab_does():
    page = AppTest.from_function(lab_after_trying_a_loss_that_wants_another_sampler, default_timeout=PATIENCE_S).run()
    assert not page.exception
    for key in ("supcon", "normalized_softmax"):
        taken, usual = page.session_state[key]
        assert taken == usual
