"""A page that was open while the server was started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_driver import WAIT_MS, open_lab, start_button, wait_for_map, wait_until_drawn
from playwright.sync_api import Page, expect

from mlcore.runs.folder import Runs

pytestmark = pytest.mark.browser

APP = Path(__file__).resolve().parents[2] / "app" / "main.py"
QUICK = "s.dataset=digits&s.dataset.split=sample&s.backbone=mlp&s.head.embedding_size=8&s.budget.steps=20"


@pytest.fixture
def runs(tmp_path) -> Iterator[Runs]:
    lab = Runs(tmp_path / "runs")
    yield lab
    for run in lab.all(purpose=None):
        run.stop()


@pytest.fixture
def server(start_streamlit: Callable[..., Any], runs: Runs) -> Any:
    return start_streamlit(APP, LAB_RUNS=str(runs.root))


def start_again(page: Page, server: Any) -> None:
    """The server goes and another comes at its place; until the page has found it."""
    server.restart()
    expect(page.get_by_text("Connected again")).to_be_visible(timeout=WAIT_MS)


def test_the_first_act_after_the_server_was_started_again_is_carried_out(page, server, runs):
    open_lab(page, server.url, QUICK)
    expect(page.get_by_role("radio", name="Search")).to_be_visible(timeout=WAIT_MS)
    start_again(page, server)
    wait_for_map(page)
    start_button(page).click()
    page.wait_for_url("**run=*", timeout=WAIT_MS)
    (run,) = runs.all()
    assert (run.spec.dataset.key, run.spec.head.embedding_size) == ("digits", 8)

    start_again(page, server)
    page.get_by_text("All settings").click()
    page.get_by_text("Optimiser, seed").click()
    page.get_by_text("Evaluate at fixed steps").first.click()
    page.wait_for_url("**s.watch.evaluate_every=20*", timeout=WAIT_MS)
    expect(page.get_by_role("switch", name="Evaluate at fixed steps")).to_be_checked(timeout=WAIT_MS)

    page.get_by_role("link", name="Data").first.click()
    page.get_by_role("button", name="Emoji").wait_for(timeout=WAIT_MS)
    start_again(page, server)
    page.get_by_role("button", name="Emoji").click()
    page.wait_for_url("**set=emoji*", timeout=WAIT_MS)
    page.get_by_role("button", name="Train on it").click()
    page.wait_for_url("**s.dataset=emoji*", timeout=WAIT_MS)


def test_a_press_that_comes_to_a_session_that_has_drawn_nothing_is_carried_out(page, server, runs):
    """The page does not hear that the server is another one: its timers are gone."""
    open_lab(page, server.url, QUICK)
    expect(page.get_by_role("radio", name="Search")).to_be_visible(timeout=WAIT_MS)
    page.evaluate("() => { for (let id = 0; id < 100000; id++) clearInterval(id); }")
    server.restart()
    button = start_button(page)
    expect(button).to_be_enabled(timeout=WAIT_MS)
    button.click()
    page.wait_for_url("**run=*", timeout=WAIT_MS)
    assert len(runs.all()) == 1


def test_a_page_that_streamlit_gave_up_is_loaded_anew_with_what_was_set(page, server):
    """A message that cannot be read: Streamlit then stays disconnected for good."""
    sockets = []

    def between(browser_side):
        sockets.append(browser_side)
        browser_side.connect_to_server()

    page.route_web_socket("**/_stcore/stream*", between)
    open_lab(page, server.url, QUICK)
    wait_until_drawn(page)
    page.evaluate("window.isOld = true")
    sockets[-1].send(b"\xff" * 40)
    page.wait_for_function("!window.isOld", timeout=WAIT_MS)
    wait_for_map(page)
    expect(start_button(page)).to_be_enabled(timeout=WAIT_MS)
    assert "embedding_size=8" in page.url
