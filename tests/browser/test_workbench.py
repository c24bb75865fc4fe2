"""The Lab as one screen: everything in view, nothing jumps, Start is near, panels are resized and enlarged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_driver import MAPS, WAIT_MS, map_value, open_lab, press_start, start_button, wait_for_map, wait_until_drawn
from playwright.sync_api import Browser, Page, expect

from mlcore.runs.folder import Runs

pytestmark = pytest.mark.browser

APP = Path(__file__).resolve().parents[2] / "app" / "main.py"
QUICK = "s.dataset=digits&s.dataset.split=sample&s.backbone=mlp&s.head.embedding_size=8&s.loss.scale=16"
SHORT = f"{QUICK}&s.budget.steps=60&s.watch.evaluate_every=30"
SHIFTS = """
window.labShift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.labShift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
IN_VIEW = {
    "the run's line": ".st-key-lab-head-line",
    "map": ".st-key-lab-map",
    "scrubber": ".st-key-lab-scrubber",
    "metrics": ".st-key-lab-metrics",
    "curve": ".st-key-lab-curve-chart-first",
    "angles": ".st-key-lab-angles-figure",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("lab") / "runs")


@pytest.fixture(scope="module")
def server(start_streamlit: Callable[..., Any], runs: Runs) -> Iterator[Any]:
    yield start_streamlit(APP, LAB_RUNS=str(runs.root))
    for run in runs.all(purpose=None):
        run.stop()


@pytest.fixture
def shifts(browser: Browser) -> Iterator[Page]:
    """A page that adds up how far things moved without anybody's doing."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
    opened = context.new_page()
    opened.add_init_script(SHIFTS)
    yield opened
    context.close()


def moved(page: Page) -> float:
    """The sum of layout shifts since the last call."""
    page.wait_for_timeout(600)
    value = page.evaluate("window.labShift")
    page.evaluate("window.labShift = 0")
    return value


def assert_on_screen(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(400)
    for what, selector in IN_VIEW.items():
        box = page.locator(selector).first.bounding_box()
        assert box is not None, what
        assert box["y"] >= 0, what
        assert box["y"] + box["height"] <= height, what
        assert box["x"] + box["width"] <= width, what
        assert box["height"] >= 60 or what in ("the run's line", "scrubber"), what
    tile = page.locator(".st-key-lab-retrieval .tile").first.bounding_box()
    assert tile["y"] + tile["height"] <= height
    assert page.locator(".st-key-lab-map").bounding_box()["width"] >= 640
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight") <= height + 1


def test_a_run_is_watched_on_one_screen_and_nothing_jumps(shifts, server, runs):
    page = shifts
    open_lab(page, server.url, SHORT)
    page.wait_for_function(f"() => {MAPS}.some((map) => map?.frame?.method === 'UMAP')", timeout=WAIT_MS)
    expect(page.locator(".st-key-lab-retrieval .tile").first).to_be_visible(timeout=WAIT_MS)
    wait_until_drawn(page)
    assert moved(page) <= 0.1
    before = page.locator(".st-key-lab-map").bounding_box()
    map_value(page, "map.zoomAt(1.5, 100, 100)")
    camera = map_value(page, "JSON.stringify(map.camera.pose())")
    run_id = press_start(page)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)  # the picture of before is there still
    page.wait_for_function(f"(run) => {MAPS}.some((map) => map?.frame?.run === run)", arg=run_id, timeout=WAIT_MS)
    wait_for_map(page, 30)
    assert map_value(page, "JSON.stringify(map.camera.pose())") == camera
    assert page.locator(".st-key-lab-map").bounding_box() == before
    wait_for_map(page, 60)
    page.get_by_text("Unseen images: MAP@R").first.wait_for(timeout=WAIT_MS)
    assert moved(page) <= 0.05
    assert_on_screen(page, 1280, 720)
    assert_on_screen(page, 1400, 900)
    page.set_viewport_size({"width": 1400, "height": 900})
    page.locator(".st-key-lab-retrieval .tile").first.click()
    picked = page.get_by_text("Picked:").first
    expect(picked).to_be_visible(timeout=WAIT_MS)
    assert picked.bounding_box()["x"] > page.locator(".st-key-lab-map").bounding_box()["x"] + 640
    page.set_viewport_size({"width": 1700, "height": 950})
    page.wait_for_timeout(400)
    beside = page.locator(".st-key-lab-bench-below").bounding_box()
    assert beside["y"] == page.locator(".st-key-lab-bench-map").bounding_box()["y"]


def test_start_is_at_most_25_tab_stops_away(page, server):
    open_lab(page, server.url, QUICK)
    wait_until_drawn(page)
    page.evaluate("document.activeElement?.blur()")
    for _ in range(25):
        page.keyboard.press("Tab")
        if start_button(page).evaluate("(button) => document.activeElement === button"):
            break
    else:
        pytest.fail("25 presses of the Tab key did not come to Start")


def test_ctrl_and_enter_start_a_run(page, server):
    open_lab(page, server.url, SHORT)
    wait_until_drawn(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**run=*", timeout=WAIT_MS)


def test_panels_are_resized_folded_and_enlarged_and_the_browser_remembers(page, server):
    open_lab(page, server.url, QUICK)
    wait_until_drawn(page)
    side, map_panel = page.locator(".st-key-lab-bench-side"), page.locator(".st-key-lab-bench-map")
    usual = side.bounding_box()["width"]
    drag_bar(page, -120)
    assert side.bounding_box()["width"] == pytest.approx(usual + 120, abs=8)
    page.reload()
    wait_for_map(page)
    assert side.bounding_box()["width"] == pytest.approx(usual + 120, abs=8)
    drag_bar(page, 600)
    expect(side).to_be_hidden()
    x, y = bar(page)
    page.mouse.dblclick(x, y)
    page.wait_for_timeout(200)
    assert side.bounding_box()["width"] == pytest.approx(usual, abs=1)

    page.locator('[data-tool="enlarge"]').click()
    page.wait_for_timeout(500)
    large, scrubber = map_panel.bounding_box(), page.locator(".st-key-lab-scrubber").bounding_box()
    assert (large["width"], large["height"]) == (1400, 900)
    assert scrubber["y"] + scrubber["height"] <= 900
    assert page.locator(".st-key-lab-map").bounding_box()["height"] > 700


def bar(page: Page) -> tuple[float, float]:
    """The middle of the bar between the map and the figures."""
    bench = page.locator(".st-key-lab-bench").bounding_box()
    panel = page.locator(".st-key-lab-bench-map").bounding_box()
    return panel["x"] + panel["width"] + 4, bench["y"] + bench["height"] / 2


def drag_bar(page: Page, across: float) -> None:
    x, y = bar(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(min(1398, x + across), y, steps=4)
    page.mouse.up()
    page.wait_for_timeout(200)


def test_styles_are_there_on_whatever_page_one_comes_in(page, server):
    for path in ("", "data", "runs", "losses"):
        page.goto(f"{server.url}/{path}")
        assert page.evaluate("[...document.querySelectorAll('style')].some((s) => s.textContent.includes('lab-bench'))")
