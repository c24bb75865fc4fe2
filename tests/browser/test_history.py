"""The browser's back button: one step back is one act undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_driver import WAIT_MS, open_lab, wait_until_drawn
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

APP = Path(__file__).resolve().parents[2] / "app" / "main.py"
QUICK = "s.dataset=digits&s.dataset.split=sample&s.backbone=mlp&s.head.embedding_size=8&s.budget.steps=20"


@pytest.fixture
def server(start_streamlit: Callable[..., Any], tmp_path: Path) -> Any:
    return start_streamlit(APP, LAB_RUNS=str(tmp_path / "runs"))


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option).click()


def wait_for_choice(page, label, option):
    """Until the list shows the option; the one that it replaces may stand beside it for a moment."""
    page.wait_for_function(
        """([label, option]) => {
          const lists = [...document.querySelectorAll(`input[role="combobox"][aria-label="${label}"]`)];
          return lists.length === 1 && lists[0].value === option;
        }""",
        arg=[label, option],
        timeout=WAIT_MS,
    )


def test_each_step_back_undoes_one_act_and_each_step_forward_does_it_again(page, server):
    open_lab(page, server.url, QUICK)
    lesson = page.get_by_role("combobox", name="Lesson")
    choose(page, "Lesson", "Fine-tuning hurts: emoji")
    page.wait_for_url("**lesson=fine-tuning-hurts*", timeout=WAIT_MS)
    page.get_by_text("All settings").click()
    page.get_by_text("Optimiser, seed").click()
    page.get_by_text("Evaluate at fixed steps").first.click()
    page.wait_for_url("**s.watch.evaluate_every=20*", timeout=WAIT_MS)
    switched_on = page.get_by_role("switch", name="Evaluate at fixed steps", checked=True)

    page.go_back()
    page.wait_for_url(lambda url: "lesson=fine-tuning-hurts" in url and "evaluate_every" not in url, timeout=WAIT_MS)
    expect(switched_on).to_have_count(0, timeout=WAIT_MS)
    expect(lesson).to_have_value("Fine-tuning hurts: emoji", timeout=WAIT_MS)
    page.go_back()
    page.wait_for_url(lambda url: "lesson=" not in url and "s.dataset=digits" in url, timeout=WAIT_MS)
    wait_for_choice(page, "Data", "Digits")
    page.go_forward()
    page.wait_for_url("**lesson=fine-tuning-hurts*", timeout=WAIT_MS)
    wait_for_choice(page, "Data", "Emoji")


def test_a_page_that_is_entered_is_one_step_back_however_it_was_entered(page, server):
    def enter(name: str, address: str) -> None:
        page.get_by_role("link", name=name, exact=True).click()
        page.wait_for_url(address, timeout=WAIT_MS)

    open_lab(page, server.url, QUICK)
    before = page.evaluate("history.length")
    enter("Runs", "**/runs")
    wait_until_drawn(page)
    enter("Losses", "**/losses?loss=arcface")
    wait_until_drawn(page)
    page.get_by_role("button", name="Try it in the Lab").click()
    page.wait_for_url("**/?s.dataset=digits*", timeout=WAIT_MS)
    wait_until_drawn(page)
    enter("Data", "**/data?set=digits")
    wait_until_drawn(page)
    page.get_by_role("button", name="Train on it").click()
    page.wait_for_url("**/?s.dataset=digits*", timeout=WAIT_MS)
    wait_until_drawn(page)
    assert page.evaluate("history.length") == before + 5

    for address in ("**/data?set=digits", "**/?s.dataset=digits*", "**/losses?loss=arcface", "**/runs", f"**/?{QUICK}"):
        page.go_back()
        page.wait_for_url(address, timeout=WAIT_MS)
        wait_until_drawn(page)
    assert page.evaluate("history.length") == before + 5
