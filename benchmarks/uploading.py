"""What an upload costs the server's memory: before it, while it waits for Import, and after it was taken.

A zip of the given size goes through a real browser. Memory is the resident set of the server's process alone; the
import is a process of its own. Streamlit holds an upload in memory while it waits; afterwards nothing should be left.

    python benchmarks/uploading.py [--json FILE] [--megabytes 190]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from conftest import StreamlitServer, launch
from playwright.sync_api import Page, sync_playwright

WAIT_MS = 180_000
SETTLE_MS = 5_000
PEAK_LOOK_MS = 100


def zip_of_noise(path: Path, megabytes: int) -> Path:
    """Two classes with one image each, and noise that no import decodes, stored up to the size."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for label in ("a", "b"):
            for number in range(3):
                image = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(image, "PNG")
                archive.writestr(f"{label}/{number}.png", image.getvalue())
        for number in range(megabytes):
            archive.writestr(f"noise/{number}.bin", random.bytes(10**6))
    return path


def resident_mb(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20


def highest_mb(process: psutil.Process, page: Page, seconds: float) -> float:
    """The largest resident set within some seconds."""
    looks = int(seconds * 1000 / PEAK_LOOK_MS)
    found = [resident_mb(process)]
    for _ in range(looks):
        page.wait_for_timeout(PEAK_LOOK_MS)
        found.append(resident_mb(process))
    return max(found)


def measured(folder: Path, megabytes: int) -> dict[str, float]:
    sent = zip_of_noise(folder / "sent.zip", megabytes)
    server = StreamlitServer(ROOT / "app" / "main.py", folder / "log.txt", {"LAB_RUNS": str(folder / "runs")})
    try:
        server.wait_until_ready()
        process = psutil.Process(server.process.pid)
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page()
            page.goto(f"{server.url}/data")
            page.get_by_text("Add your own images").click(timeout=WAIT_MS)
            page.wait_for_timeout(SETTLE_MS)
            told = {"before": resident_mb(process)}
            page.locator("input[type=file]").set_input_files(sent)
            page.locator(".st-key-data-import button:not([disabled])").wait_for(timeout=WAIT_MS)
            page.wait_for_timeout(SETTLE_MS)
            told["waiting"] = resident_mb(process)
            page.get_by_role("button", name="Import", exact=True).click()
            told["highest while taken"] = highest_mb(process, page, 15.0)
            page.wait_for_timeout(SETTLE_MS)
            told["after"] = resident_mb(process)
            browser.close()
        return {name: round(value) for name, value in told.items()} | {"upload": sent.stat().st_size // 2**20}
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--megabytes", type=int, default=190)
    options = parser.parse_args()
    os.environ.pop("LAB_DATA", None)
    with tempfile.TemporaryDirectory(prefix="lab-uploading-") as folder:
        told = measured(Path(folder), options.megabytes)
    for name, value in told.items():
        print(f"{name:>22}  {value:>6,.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
