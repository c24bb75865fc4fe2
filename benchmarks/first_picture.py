"""What a person waits for, in a real browser: the first page, the first map after Start, a snapshot's points moving.

Each beside its alternative: the page against importing torch first; the map's message against the same points as an
`st.plotly_chart`. Prints a table; `--json FILE` also writes it. Run it on a quiet machine: median of several.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from conftest import StreamlitServer, launch
from page_driver import open_lab, press_start, start_button, wait_for_map
from playwright.sync_api import Browser, Page, sync_playwright

from mlcore.runs.folder import Runs
from mlcore.runs.history import History

DIGITS = "s.dataset=digits&s.dataset.split=sample&s.budget.steps=60"
GLYPHS = "s.dataset=glyphs&s.budget.steps=400&s.watch.evaluate_every=40&s.watch.points=2000"
FIND_MAP = (
    "[...document.querySelectorAll('[data-testid=\"stBidiComponentIsolated\"]')]"
    '.map((host) => host.shadowRoot?.querySelector(".over")?.labMap).find((map) => map?.frame)'
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with sync_playwright() as playwright:
        browser = launch(playwright)
        rows.append(first_page(browser, options.repeats))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            server = serve(Path(folder))
            try:
                rows.append(first_map(browser, server, options.repeats))
                rows += moved_points(browser, server, Runs(Path(folder) / "runs"))
            finally:
                server.stop()
        browser.close()
    for row in rows:
        print(f"{row['what']:58} {row['value']:>9} {row['unit']:6} figure {row['figure']:>6}  {row['beside']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))
    return 0


def serve(folder: Path) -> StreamlitServer:
    server = StreamlitServer(ROOT / "app" / "main.py", folder / "log.txt", {"LAB_RUNS": str(folder / "runs")})
    server.wait_until_ready()
    return server


WHEN_DRAWN = """
globalThis.drawnAt = 0;
const look = () => {
  const shown = [...document.querySelectorAll("button")].find((button) => button.innerText.includes("Start"));
  if (!shown?.getClientRects().length) return setTimeout(look, 10);
  requestAnimationFrame(() => (drawnAt = performance.timeOrigin + performance.now()));
};
look();
"""


def first_page(browser: Browser, repeats: int) -> dict[str, Any]:
    """From `streamlit run` to the Start button on screen, the catalogue's listing being there from an earlier start.

    The browser's own clock says when. What a server has started is ended before the next is: it would take its cores.
    """
    subprocess.run([sys.executable, "-m", "mlcore", "list", "losses"], cwd=ROOT, check=True, capture_output=True)
    times, torch_times = [], []
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            page.add_init_script(WHEN_DRAWN)
            began = time.time()
            server = StreamlitServer(ROOT / "app" / "main.py", Path(folder) / "log.txt", {"LAB_RUNS": folder + "/runs"})
            server.wait_until_ready()
            page.goto(server.url)
            page.wait_for_function("globalThis.drawnAt > 0", polling=200, timeout=60_000)
            times.append(page.evaluate("drawnAt") / 1000 - began)
            page.context.close()
            stop_with_workers(server)
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        torch_times.append(time.perf_counter() - began)
    beside = f"importing torch alone takes {statistics.median(torch_times[1:]):.2f} s"
    return result("app start to first page drawn", statistics.median(times[1:]), "s", "<= 3", beside)


def stop_with_workers(server: StreamlitServer) -> None:
    workers = psutil.Process(server.process.pid).children(recursive=True)
    server.stop()
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    psutil.wait_procs(workers, timeout=20)


def first_map(browser: Browser, server: StreamlitServer, repeats: int) -> dict[str, Any]:
    """From the click on Start to the new run's step 0 on the map (digits, standby worker ready)."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    open_lab(page, server.url, DIGITS)
    time.sleep(12)
    times = []
    for _ in range(repeats + 1):
        times.append(click_to_map(page))
        page.get_by_text("took").first.wait_for(timeout=60_000)
        time.sleep(8)
    page.context.close()
    return result("Start pressed to first map on screen (digits)", statistics.median(times[1:]), "s", "<= 2", "")


def click_to_map(page: Page) -> float:
    before = page.evaluate(f"() => {FIND_MAP}.frame.run")
    began = time.perf_counter()
    start_button(page).click()
    page.wait_for_function(f"(before) => {FIND_MAP}?.frame.run !== before", arg=before, timeout=60_000, polling="raf")
    return time.perf_counter() - began


def moved_points(browser: Browser, server: StreamlitServer, runs: Runs) -> list[dict[str, Any]]:
    """From a snapshot's event in the run's file to its UMAP on screen, and the bytes that this costs."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    received: list[tuple[float, int]] = []
    page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda data: received.append((time.time(), len(data))))
    )
    open_lab(page, server.url, GLYPHS)
    deadline = time.monotonic() + 90
    while not runs.read_helper_status("projector").get("ready") and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(8)
    run = runs.open(press_start(page))
    wait_for_map(page, 40)
    seen: dict[int, float] = {}
    while not run.state.finished or time.time() - seen.get(max(seen, default=0), 0) < 4:
        frame = page.evaluate(
            f"() => {{ const map = {FIND_MAP}; return [map.frame.step, map.frame.method, map.glide.share]; }}"
        )
        if frame[1] == "UMAP":
            seen.setdefault(frame[0], time.time())
        time.sleep(0.02)
    history = History(run)
    history.refresh()
    written = {
        entry["step"]: (run_path / entry["file"]).stat().st_mtime
        for run_path, entry in ((attempt.path, entry) for attempt, entry in history.snapshots.values())
    }
    steps = sorted(step for step in seen if step in written and step > 40)
    waits = [seen[step] - written[step] for step in steps]
    laid_out = [layout_written(history, step) - written[step] for step in steps]
    between = [
        sum(size for at, size in received if seen[before] < at <= seen[after])
        for before, after in itertools.pairwise(steps)
    ]
    page.context.close()
    skipped = len([step for step in written if step > 40]) - len(steps)
    return [
        result(
            "snapshot written to moved points (2,000, UMAP warm)",
            statistics.median(waits),
            "s",
            "<= 1.5",
            f"{len(steps)} snapshots seen, {skipped} overtaken by a newer one; longest {max(waits):.2f} s; "
            f"of which {statistics.median(laid_out):.2f} s until it was laid out",
        ),
        result(
            "bytes to the browser per snapshot, map, curves and all",
            statistics.median(between) / 1000,
            "kB",
            "",
            "everything on the page between two maps",
        ),
        message_size(),
    ]


def layout_written(history: History, step: int) -> float:
    attempt, entry = history.layouts["umap-2d", step]
    return (attempt.path / "layouts" / entry["file"]).stat().st_mtime


def message_size() -> dict[str, Any]:
    """The map's own message for 2,000 points and 62 classes, beside the same points as a Plotly figure."""
    import numpy as np
    import plotly.graph_objects as go

    from app.shared.palette import class_colours
    from app.widgets.map import MapFrame, pack

    rng = np.random.default_rng(0)
    names = tuple(f"class {number}" for number in range(62))
    points = rng.normal(size=(2000, 2)).astype(np.float32)
    labels = rng.integers(0, 62, 2000)
    ids = np.sort(rng.permutation(2232)[:2000])
    frame = MapFrame(
        "run",
        40,
        "UMAP",
        2,
        points,
        ids,
        labels,
        labels > 30,
        names,
        tuple(class_colours(names)),
        2232,
        proxies=points[:31],
        proxy_labels=np.arange(31),
        faith={"knn_kept": 0.6, "trustworthiness": 0.9},
    )
    figure = go.Figure(
        go.Scattergl(x=points[:, 0], y=points[:, 1], mode="markers", marker={"color": labels}, customdata=ids)
    )
    beside = f"the same as an st.plotly_chart: {len(figure.to_json()) / 1000:.1f} kB, drawn anew"
    return result("bytes of the map's message, 2,000 points", len(pack(frame)) / 1000, "kB", "<= 30", beside)


def result(what: str, value: float, unit: str, figure: str, beside: str) -> dict[str, Any]:
    return {"what": what, "value": round(value, 2), "unit": unit, "figure": figure, "beside": beside}


if __name__ == "__main__":
    raise SystemExit(main())
