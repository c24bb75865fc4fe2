"""The live map against `st.plotly_chart` with Scattergl, on the same moving points in headless Chromium.

Measured: pictures per second while 10,000 points glide (software GL; the chart draws one per update),
whether zoom and lasso are kept over 10 updates and on the same canvas, bytes received by the browser per snapshot
of 2,000 points.

    python benchmarks/map_frames.py [--points 10000] [--updates 10] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from conftest import StreamlitServer, launch

DEMOS = ROOT / "tests" / "browser" / "demos"
FRAMES_TO_REACH, BYTES_TO_REACH = 30, 30_000

# Our map: pictures drawn from the moment a snapshot is taken until its points have arrived, and the longest gap.
COUNT_OURS = """() => new Promise((done) => {
  const hosts = document.querySelectorAll('[data-testid="stBidiComponentIsolated"]');
  const map = [...hosts].map((host) => host.shadowRoot?.querySelector(".over")?.labMap).find(Boolean);
  const first = map.framesDrawn, start = performance.now();
  let before = start, gap = 0;
  const look = () => {
    const now = performance.now();
    gap = Math.max(gap, now - before);
    before = now;
    if (map.glide.share < 1) return requestAnimationFrame(look);
    return done({ rate: ((map.framesDrawn - first) / (now - start)) * 1000, gap });
  };
  map.take({ ...map.frame, positions: map.frame.positions.map((value, i) => value + Math.sin(i)) });
  requestAnimationFrame(look);
})"""
# The other: time from the press to the chart's new title, and the longest gap between two animation frames meanwhile.
WATCH_GAPS = """() => {
  const watch = { start: performance.now(), gap: 0, on: true };
  let before = watch.start;
  const look = () => {
    watch.gap = Math.max(watch.gap, performance.now() - before);
    before = performance.now();
    if (watch.on) requestAnimationFrame(look);
  };
  look();
  return watch;
}"""
OUR_STATE = """() => {
  const hosts = document.querySelectorAll('[data-testid="stBidiComponentIsolated"]');
  const canvas = [...hosts].map((host) => host.shadowRoot?.querySelector(".over")).find(Boolean);
  const map = canvas?.labMap;
  if (!map?.frame) return null;
  const zoom = map.camera.scale.toFixed(6), lasso = map.shared.lasso.value.length;
  const still = map.glide.share >= 1 && !map.asked;
  return { mark: canvas.dataset.mark ?? "", step: map.frame.step, still, zoom, lasso };
}"""
PLOTLY_STATE = """() => {
  const plot = document.querySelector(".js-plotly-plot");
  if (!plot?._fullLayout) return null;
  const range = plot._fullLayout.xaxis.range.map((value) => value.toFixed(3)).join(" ");
  const chosen = plot._fullData?.[0]?.selectedpoints?.length ?? 0;
  const step = Number(plot._fullLayout.title.text.slice(5));
  return { mark: plot.dataset.mark ?? "", step, still: true, zoom: range, lasso: chosen };
}"""


def open_page(browser: Any, server: StreamlitServer, query: str, sizes: list[int]) -> Page:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: sizes.append(len(data))))
    page.goto(f"{server.url}/?{query}")
    return page


def wait_for(page: Page, state: str, step: int) -> dict[str, Any]:
    page.wait_for_function(
        f"(step) => {{ const now = ({state})(); return now && now.step === step && now.still; }}", arg=step
    )
    return page.evaluate(state)


def update(page: Page, state: str, updates: int, sizes: list[int]) -> dict[str, Any]:
    """Presses "Next step" `updates` times: what was kept each time, and bytes received for each."""
    first = page.evaluate(state)
    kept = {"zoom": 0, "lasso": 0, "mark": 0}
    received = []
    for number in range(1, updates + 1):
        sizes.clear()
        page.get_by_role("button", name="Next step").click()
        now = wait_for(page, state, first["step"] + 30 * number)
        received.append(sum(sizes))
        for name in kept:
            kept[name] += now[name] == first[name]
    return {
        "updates": updates,
        **{f"{name}_kept": count for name, count in kept.items()},
        "bytes": statistics.median(received),
    }


def measure_ours(browser: Any, server: StreamlitServer, points: int, updates: int) -> dict[str, Any]:
    page = open_page(browser, server, f"count={points}&step=30", [])
    wait_for(page, OUR_STATE, 30)
    rates, gaps = [], []
    for _ in range(5):
        counted = page.evaluate(COUNT_OURS)
        rates.append(counted["rate"])
        gaps.append(counted["gap"])
    page.close()
    sizes: list[int] = []
    page = open_page(browser, server, "count=2000&step=30", sizes)
    wait_for(page, OUR_STATE, 30)
    box = page.locator(".over").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 250)
    page.mouse.wheel(0, -240)
    drag_rectangle(page, box, shift=True)
    wait_for(page, OUR_STATE, 30)
    page.locator(".over").evaluate("canvas => canvas.dataset.mark = 'first'")
    result = {
        "frames_per_second": statistics.median(rates),
        "longest_gap_ms": max(gaps),
        **update(page, OUR_STATE, updates, sizes),
    }
    page.close()
    return result


def measure_plotly(browser: Any, server: StreamlitServer, points: int, updates: int) -> dict[str, Any]:
    page = open_page(browser, server, f"count={points}&step=30", [])
    wait_for(page, PLOTLY_STATE, 30)
    rates, gaps = [], []
    for number in range(1, 4):
        watch = page.evaluate_handle(WATCH_GAPS)
        page.get_by_role("button", name="Next step").click()
        wait_for(page, PLOTLY_STATE, 30 + 30 * number)
        seconds, gap = watch.evaluate("w => { w.on = false; return [(performance.now() - w.start) / 1000, w.gap]; }")
        gaps.append(gap)
        rates.append(1 / seconds)  # its points jump: one new picture per update
    page.close()
    sizes: list[int] = []
    page = open_page(browser, server, "count=2000&step=30", sizes)
    wait_for(page, PLOTLY_STATE, 30)
    unzoomed = page.evaluate(PLOTLY_STATE)["zoom"]
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 250)
    page.mouse.wheel(0, -240)
    page.wait_for_function(f"(before) => ({PLOTLY_STATE})().zoom !== before", arg=unzoomed)
    for _ in range(5):  # a drag that begins while the chart still redraws is lost
        drag_rectangle(page, box, shift=False)
        page.wait_for_timeout(500)
        if page.evaluate(PLOTLY_STATE)["lasso"]:
            break
    else:
        raise RuntimeError("map_frames: no lasso could be drawn into the plotly chart in 5 tries.")
    page.locator(".js-plotly-plot").evaluate("plot => plot.dataset.mark = 'first'")
    result = {
        "frames_per_second": statistics.median(rates),
        "longest_gap_ms": max(gaps),
        **update(page, PLOTLY_STATE, updates, sizes),
    }
    page.close()
    return result


def drag_rectangle(page: Page, box: dict[str, float], *, shift: bool) -> None:
    if shift:
        page.keyboard.down("Shift")
    x, y, w, h = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3, box["width"] * 0.4, box["height"] * 0.4
    page.mouse.move(x, y)
    page.mouse.down()
    for right, down in ((w, 0), (w, h), (0, h), (0, 5)):
        page.mouse.move(x + right, y + down, steps=5)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")


def with_server(script: str, measure: Callable[..., dict[str, Any]], points: int, updates: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        server = StreamlitServer(DEMOS / script, Path(folder) / "log.txt", {})
        try:
            server.wait_until_ready()
            browser = launch(playwright)
            try:
                return measure(browser, server, points, updates)
            finally:
                browser.close()
        finally:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON instead of a table")
    asked = parser.parse_args()
    ours = with_server("map_demo.py", measure_ours, asked.points, asked.updates)
    other = with_server("plotly_demo.py", measure_plotly, asked.points, asked.updates)
    if asked.json:
        print(json.dumps({"points": asked.points, "live_map": ours, "plotly_scattergl": other}))
        return
    rows = [
        (f"pictures per second, {asked.points:,} points moving (>= {FRAMES_TO_REACH})", "frames_per_second", ".1f"),
        ("longest gap between frames, ms", "longest_gap_ms", ".0f"),
        (f"zoom kept, of {asked.updates} updates (always)", "zoom_kept", "d"),
        (f"lasso kept, of {asked.updates} updates (always)", "lasso_kept", "d"),
        (f"same canvas, of {asked.updates} updates", "mark_kept", "d"),
        (f"bytes per snapshot of 2,000 points (<= {BYTES_TO_REACH:,})", "bytes", ",.0f"),
    ]
    print(f"{'':58}{'live map':>12}{'plotly':>12}")
    for title, name, form in rows:
        print(f"{title:58}{ours[name]:>12{form}}{other[name]:>12{form}}")


if __name__ == "__main__":
    main()
