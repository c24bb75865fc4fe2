"""From a zip of photographs to five losses compared, by clicking only: how long it takes.

A fresh lab and a headless browser: upload, import, "Compare five losses on it", Start, until all five runs are done.
Give a zip with a folder for each class; without one, the lab's emoji are packed, 130 classes of 12 images of 48 px,
stored at 64 px. Prints the time of each part.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from conftest import StreamlitServer, launch

from mlcore.data import load
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History

FIGURE_S = 300.0
WAIT_MS = 600_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zip", type=Path, help="photographs, a folder for each class")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packed = options.zip or pack_emoji(Path(folder) / "emoji.zip")
        parts, table = clicked(packed, Path(folder))
    for part, seconds in parts.items():
        print(f"{part:34} {seconds:6.1f} s")
    print(f"{'from upload to the comparison':34} {sum(parts.values()):6.1f} s   (figure {FIGURE_S:.0f} s)")
    for name, before, after in table:
        print(f"  {name:24} MAP@R {after:.3f}   no training {before:.3f}")
    if options.json:
        options.json.write_text(json.dumps({"seconds": parts, "runs": table}, indent=2))
    return 0


def pack_emoji(path: Path) -> Path:
    table = load("emoji")
    with zipfile.ZipFile(path, "w") as packed:
        for number, (pixels, label) in enumerate(zip(table.pixels, table.labels, strict=True)):
            file = io.BytesIO()
            Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(file, "PNG")
            packed.writestr(f"{table.class_names[label]}/{number}.png", file.getvalue())
    return path


def clicked(packed: Path, folder: Path) -> tuple[dict[str, float], list[tuple[str, float, float]]]:
    """Seconds of each part, and what the runs reached: loss, MAP@R of the backbone alone, MAP@R in the end."""
    runs = Runs(folder / "runs")
    server = StreamlitServer(ROOT / "app" / "main.py", folder / "log", {"LAB_RUNS": str(runs.root)})
    try:
        server.wait_until_ready()
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(f"{server.url}/data")
            page.get_by_text("Add your own images").click(timeout=WAIT_MS)
            marks = [time.perf_counter()]
            page.locator("input[type=file]").set_input_files(packed)
            page.get_by_role("button", name="Import", exact=True).click(timeout=WAIT_MS)
            compare = page.get_by_role("button", name="Compare five losses on it")
            expect(page.get_by_text("is here.")).to_be_visible(timeout=WAIT_MS)
            marks.append(time.perf_counter())
            compare.click()
            page.get_by_role("button", name="Start 5 runs").click(timeout=WAIT_MS)
            page.get_by_role("link", name="5 losses side by side").click(timeout=WAIT_MS)
            marks.append(time.perf_counter())
            expect(page.get_by_text("done 5")).to_be_visible(timeout=WAIT_MS)
            marks.append(time.perf_counter())
            browser.close()
    finally:
        server.stop()
    names = ("upload and import", "to the Lab, Start, to the table", "five runs")
    seconds = {name: after - before for name, before, after in zip(names, marks[:-1], marks[1:], strict=True)}
    return seconds, [reached(run) for run in runs.all()]


def reached(run: RunFolder) -> tuple[str, float, float]:
    """A run's loss, the MAP@R of its backbone without training, and its own in the end."""
    past = History(run)
    past.refresh()
    looks = past.evaluations
    return run.spec.loss.key, looks[0]["backbone"]["map_at_r"], looks[-1]["held_out"]["map_at_r"]


if __name__ == "__main__":
    raise SystemExit(main())
