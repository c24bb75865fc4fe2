"""Settings are found by their name, by other words for them, and by what they do; what is not found keeps its value."""

from __future__ import annotations

import pytest

from app.shared.draft import KEY
from app.shared.setting_search import SettingSearch, is_searching, is_wanted, search_settings


@pytest.mark.parametrize("words", ["weight decay", "wd", "decay WEIGHT", "long weights"])
def test_a_setting_is_found_by_its_name_by_another_word_and_by_what_it_does(words):
    with search_settings(words) as search:
        assert is_wanted("Weight decay", "lab.set.optimizer.weight_decay", "Long weights are shortened.")
        assert not is_wanted("Dropout", "lab.set.head.dropout", None)
    assert search.found == ["Weight decay"]
    assert not is_searching()
    assert is_wanted("Dropout")


def test_letters_within_a_word_are_no_match():
    assert not SettingSearch(("lr",)).matches(
        "Focal gamma", ["Well separated images, which are already easy, count less."]
    )


def test_every_word_has_to_match():
    search = SettingSearch(("learning", "head"))
    assert search.matches("Learning rate of the head", [])
    assert not search.matches("Learning rate of the backbone", [])


def keys(page) -> set[str]:
    shown = [*page.number_input, *page.selectbox, *page.slider, *page.toggle, *page.button_group]
    return {str(widget.key) for widget in shown}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("lr", "lab.set.optimizer.head_lr"),
        ("weight decay", "lab.set.optimizer.weight_decay"),
        ("dropout", "lab.set.head.dropout"),
        ("validation", "lab.set.dataset.held_out"),
        ("principal components", "lab.set.head.start"),
        ("adam", "lab.set.optimizer.name"),
        ("sampler", "lab.set.sampler"),
    ],
)
def test_the_lab_finds_a_setting_and_hides_the_others(open_page, words, found):
    page = open_page("lab", **{"s.head.dropout": "0.3", "s.optimizer.weight_decay": "0.25"})
    before = dict(page.session_state[KEY])
    page.text_input(key="lab.setting_search").set_value(words).run()
    assert not page.exception
    assert found in keys(page)
    assert "lab.set.seed" not in keys(page)
    assert page.session_state[KEY] == before  # nothing is lost by looking


def test_a_found_setting_can_be_set(open_page):
    page = open_page("lab")
    page.text_input(key="lab.setting_search").set_value("weight decay").run()
    page.number_input(key="lab.set.optimizer.weight_decay").set_value(0.125).run()
    assert page.session_state[KEY]["optimizer.weight_decay"] == 0.125
    page.text_input(key="lab.setting_search").set_value("").run()
    assert page.number_input(key="lab.set.optimizer.weight_decay").value == 0.125


def test_what_matches_nothing_is_said(open_page):
    page = open_page("lab")
    page.text_input(key="lab.setting_search").set_value("[no](http://such.thing)").run()
    assert any("No setting of these parts matches" in caption.value for caption in page.caption)
    assert not any("[no](http" in caption.value for caption in page.caption)
