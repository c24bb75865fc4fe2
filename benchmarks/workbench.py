"""The Lab's page in a real browser: how long until its map, what moves on the way, how far Start is away.

Prints a table beside the figures that are wanted. Run it on a quiet machine: median of several.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from conftest import StreamlitServer, launch
from first_picture import stop_with_workers
from page_driver import map_value, open_lab, press_start, start_button, wait_for_map, wait_until_drawn
from playwright.sync_api import Browser, Page, sync_playwright

SETTINGS = "s.budget.steps=150"  # glyphs, small_conv, ArcFace: what the Lab begins with
SIZE = {"width": 1280, "height": 720}
SHIFTS = """
window.labShift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.labShift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for _ in range(options.repeats):
            rows.append(measure(browser))
        browser.close()
    wanted = {
        "streamlit run to first map (s)": "<= 15 without caches, 6 with",
        "page on a warm server to map (s)": "<= 1.5",
        "Start to first moved point (s)": "<= 2",
        "layout shift, open": "<= .1",
        "layout shift, open on a warm server": "<= .1",
        "layout shift, Start": "<= .05",
        "layout shift, run": "0",
        "tab stops to Start": "<= 25",
        "map's width at 1280 (px)": ">= 640",
    }
    for what, figure in wanted.items():
        values = [row[what] for row in rows]
        print(f"{what:40} {statistics.median(values):8.3f}  ({min(values):.3f} to {max(values):.3f})  wanted {figure}")
    return 0


def measure(browser: Browser) -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        began = time.perf_counter()
        server = StreamlitServer(ROOT / "app" / "main.py", Path(folder) / "log.txt", {"LAB_RUNS": f"{folder}/runs"})
        server.wait_until_ready()
        try:
            page = new_page(browser)
            open_lab(page, server.url, SETTINGS)
            found["streamlit run to first map (s)"] = time.perf_counter() - began
            found["layout shift, open"] = settle(page)
            found["tab stops to Start"] = tab_stops(page)
            found["map's width at 1280 (px)"] = page.locator(".st-key-lab-map").bounding_box()["width"]
            page.context.close()
            time.sleep(8)  # the projector and the standby worker are ready
            page = new_page(browser)
            began = time.perf_counter()
            open_lab(page, server.url, SETTINGS)
            found["page on a warm server to map (s)"] = time.perf_counter() - began
            found["layout shift, open on a warm server"] = settle(page)
            found["Start to first moved point (s)"] = start_to_moved_point(page)
            page.wait_for_timeout(500)
            found["layout shift, Start"] = take_shift(page)
            page.get_by_text("took").first.wait_for(timeout=120_000)
            found["layout shift, run"] = settle(page)
            page.context.close()
        finally:
            stop_with_workers(server)
    return found


def new_page(browser: Browser) -> Page:
    page = browser.new_context(viewport=SIZE).new_page()
    page.add_init_script(SHIFTS)
    return page


def settle(page: Page) -> float:
    wait_until_drawn(page)
    page.wait_for_timeout(2500)
    return take_shift(page)


def take_shift(page: Page) -> float:
    value: Any = page.evaluate("window.labShift")
    page.evaluate("window.labShift = 0")
    return float(value)


def tab_stops(page: Page) -> int:
    page.evaluate("document.activeElement?.blur()")
    for stop in range(1, 200):
        page.keyboard.press("Tab")
        if start_button(page).evaluate("(button) => document.activeElement === button"):
            return stop
    raise RuntimeError("200 presses of the Tab key did not come to Start")


def start_to_moved_point(page: Page) -> float:
    before = map_value(page, "[...map.to.slice(0, 300)]")
    began = time.perf_counter()
    press_start(page)
    wait_for_map(page, 1)
    while map_value(page, "[...map.to.slice(0, 300)]") == before:
        time.sleep(0.02)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
