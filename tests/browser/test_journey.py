"""The whole way of a person through the Lab, in a real browser with real training behind it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_driver import (
    map_value,
    open_lab,
    places,
    press_start,
    shown_step,
    start_button,
    wait_for_map,
    wait_until_drawn,
)
from playwright.sync_api import Page, expect

from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState

pytestmark = pytest.mark.browser

APP = Path(__file__).resolve().parents[2] / "app" / "main.py"
QUICK = "s.dataset=digits&s.dataset.split=sample&s.backbone=mlp&s.head.embedding_size=8&s.loss.scale=16"
SHORT = f"{QUICK}&s.budget.steps=150&s.watch.evaluate_every=30"
LONG = f"{QUICK}&s.budget.steps=100000&s.watch.evaluate_every=150"
WAIT_MS = 120_000


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[Runs]:
    """The lab's runs; none is left going on after the tests."""
    lab = Runs(tmp_path_factory.mktemp("lab") / "runs")
    yield lab
    for run in lab.all(purpose=None):
        run.stop()
    until(lambda: all(run.state.finished for run in lab.all(purpose=None)))


@pytest.fixture(scope="module")
def server(start_streamlit: Callable[..., Any], runs: Runs) -> Any:
    return start_streamlit(APP, LAB_RUNS=str(runs.root))


@pytest.fixture(autouse=True)
def nothing_goes_on(runs: Runs) -> Iterator[None]:
    """Each test finds a free slot."""
    yield
    for run in runs.all(purpose=None):
        run.stop()


def until(claim: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def last_map_is_laid_out(run: RunFolder) -> bool:
    """Nothing of a finished run is still to come."""
    history = History(run)
    history.refresh()
    return ("umap-2d", max(history.snapshots)) in history.layouts


def stop_button(page: Page) -> Any:
    """Ours, not the one in Streamlit's header."""
    return page.get_by_test_id("stMainBlockContainer").get_by_role("button", name="Stop")


def test_before_there_is_a_run_the_untrained_data_is_shown(page, server):
    open_lab(page, server.url, QUICK)
    expect(page.get_by_text("Before training").first).to_be_visible()
    expect(start_button(page)).to_be_enabled()
    expect(page.get_by_role("radio", name="Search")).to_be_visible(timeout=WAIT_MS)
    assert map_value(page, "map.frame.ids.length") > 1000


def test_a_person_watches_a_run_from_start_to_verdict(page, server, runs):
    open_lab(page, server.url, SHORT)
    before = places(page)
    run = runs.open(press_start(page))
    wait_for_map(page, 30)
    until(lambda: places(page) != before)
    wait_for_map(page, 150)
    until(lambda: run.state.finished)
    assert run.state == RunState.DONE
    expect(page.get_by_text("MAP@R").first).to_be_visible()
    expect(page.get_by_text("Unseen images: MAP@R")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("Now", exact=True).first).to_be_visible(timeout=WAIT_MS)

    page.get_by_role("link", name="Losses").first.click()
    page.wait_for_url("**/losses*", timeout=WAIT_MS)
    page.get_by_role("link", name="Lab").first.click()
    page.wait_for_url(f"**run={run.run_id}*", timeout=WAIT_MS)
    wait_for_map(page, 150)
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_text("Before training", exact=True).first).to_be_visible(timeout=WAIT_MS)
    until(lambda: shown_step(page) == 0)
    assert "run=" not in page.evaluate("location.search")


def test_zoom_and_lasso_are_kept_while_the_run_goes_on_and_stop_keeps_everything(page, server, runs):
    open_lab(page, server.url, LONG)
    run = runs.open(press_start(page))
    wait_for_map(page, 150)
    until(lambda: map_value(page, "map.frame.run + map.frame.method") == f"{run.run_id}UMAP", 120)
    page.locator(".over").first.focus()
    page.keyboard.press("+")
    until(lambda: map_value(page, "map.move === null"))
    zoom = map_value(page, "JSON.stringify(map.camera)")
    box = page.locator(".over").first.bounding_box()
    page.keyboard.down("Shift")
    corners = [(0.05, 0.2), (0.95, 0.2), (0.95, 0.95), (0.05, 0.95), (0.05, 0.2)]
    places_on_page = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places_on_page[0])
    page.mouse.down()
    for place in places_on_page[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page.get_by_text("selected:").first).to_be_visible(timeout=WAIT_MS)
    kept = page.get_by_text("selected:").first.inner_text()
    step = shown_step(page)
    wait_for_map(page, step + 450)
    assert map_value(page, "JSON.stringify(map.camera)") == zoom
    assert page.get_by_text("selected:").first.inner_text() == kept

    asked = time.monotonic()
    stop_button(page).click()
    until(lambda: run.state.finished)
    assert run.state == RunState.CANCELLED
    assert time.monotonic() - asked < 15
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=WAIT_MS)
    step = shown_step(page)

    page.reload()
    wait_for_map(page, step)
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=WAIT_MS)

    until(lambda: last_map_is_laid_out(run))
    wait_until_drawn(page)
    page.get_by_role("button", name="Resume").click()
    wait_for_map(page, step + 150)
    expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=WAIT_MS)


def test_two_browsers_see_the_same_run_and_either_may_stop_it(browser, page, server, runs):
    open_lab(page, server.url, LONG)
    run = runs.open(press_start(page))
    wait_for_map(page, 150)
    other = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    open_lab(other, server.url, f"run={run.run_id}")
    wait_for_map(other, shown_step(page))
    stop_button(other).click()
    until(lambda: run.state.finished)
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=WAIT_MS)
    assert map_value(page, "map.frame.ids.length") == map_value(other, "map.frame.ids.length")
    other.context.close()


def test_a_scrubbed_step_stays_while_training_goes_on_and_is_in_the_link(page, server, runs):
    open_lab(page, server.url, LONG)
    run = runs.open(press_start(page))
    wait_for_map(page, 450)
    page.get_by_role("slider", name="Snapshot").or_(page.locator('[role="slider"][aria-valuetext]')).first.focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => location.search.includes('step=0')", timeout=WAIT_MS)
    until(lambda: shown_step(page) == 0)
    until(lambda: run.status().step > 1200)
    assert shown_step(page) == 0
    link = page.url
    run.stop()
    page.goto(link)
    wait_for_map(page, 0)
    assert shown_step(page) == 0


def test_a_killed_server_loses_nothing_and_the_next_one_goes_on(page, start_streamlit, runs):
    first = start_streamlit(APP, LAB_RUNS=str(runs.root))
    open_lab(page, first.url, f"{QUICK}&s.budget.steps=3000&s.watch.evaluate_every=150")
    run = runs.open(press_start(page))
    wait_for_map(page, 150)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    second = start_streamlit(APP, LAB_RUNS=str(runs.root))
    open_lab(page, second.url, f"run={run.run_id}")
    until(lambda: run.state.finished, 120)
    assert run.state == RunState.DONE
    wait_for_map(page, 3000)


def test_a_killed_worker_is_told_within_five_seconds_and_resumes_to_its_end(page, server, runs):
    open_lab(page, server.url, f"{QUICK}&s.budget.steps=2500&s.watch.evaluate_every=150")
    run = runs.open(press_start(page))
    wait_for_map(page, 300)
    until(lambda: run.status().pid is not None)
    os.kill(run.status().pid, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: run.state == RunState.FAILED, 20)
    assert time.monotonic() - killed < 5
    expect(page.get_by_text("ended from outside").first).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Resume").click()
    until(lambda: (now := run.status()).attempt == 2 and now.state.finished, 120)
    assert run.state == RunState.DONE


def test_a_link_to_a_run_that_is_gone_says_so_and_shows_the_lab(page, server):
    open_lab(page, server.url, "run=00000000000000000000000000")
    expect(page.get_by_text("names a run that is not here")).to_be_visible(timeout=WAIT_MS)


def test_a_lesson_link_sets_the_lab_up(page, server):
    open_lab(page, server.url, "lesson=arcface-2d")
    expect(page.get_by_text("nothing is projected").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
    wait_for_map(page)
    assert map_value(page, "map.frame.method") == "head"


NASTY = "<img src=x onerror=window.hit=1> **b** [a](javascript:window.hit=1) $x$"


def test_a_name_from_a_person_is_text_everywhere(page, server, runs):
    open_lab(page, server.url, SHORT)
    run = runs.open(press_start(page))
    run.set_label(name=NASTY, note=NASTY)
    for path in (f"?run={run.run_id}", "runs"):
        page.goto(f"{server.url}/{path}")
        page.wait_for_timeout(3000)
        assert page.evaluate("() => window.hit") is None
        assert page.locator('img[src="x"]').count() == 0
        assert page.locator('a[href^="javascript"]').count() == 0
