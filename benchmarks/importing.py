"""A folder of small PNGs into the lab: images a second, and the most memory that all its processes hold together.

Each size by the command that people type, from start to end. The images are 64 px, colour, in 100 classes. The time of
a core for an image counts all processes, too, and depends little on what else the machine does; memory that processes
share is counted for each. Prints a table; `--json FILE` also writes it. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SPEED, MEMORY_MB = 1500, 1024
PIXELS = 64
CLASSES = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="images (default: 20,000)")
    parser.add_argument("--sides", type=int, nargs="+", default=[0, 160], help="stored sides, px; 0 is the usual one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = make_images(Path(folder) / "own", options.count)
        rows = [measured(made, side, Path(folder)) for side in options.sides]
    for row in rows:
        print(
            f"{row['images']:,} PNGs of {PIXELS} px, stored at {row['side']} px: {row['images_per_s']:,.0f} images/s "
            f"(figure {SPEED:,}), {row['peak_mb']:,.0f} MB at most in "
            f"{row['processes']} processes (figure {MEMORY_MB:,}), "
            f"{row['seconds']:.1f} s in all, {row['cpu_ms_per_image']:.2f} ms of a core an image; "
            f"again, unchanged: {row['again_s']:.1f} s"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))
    return 0


def make_images(folder: Path, count: int) -> Path:
    """Smooth images with a little noise, which pack about as photographs do."""
    generator = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / f"class {number:03d}").mkdir(parents=True)
    for number in range(count):
        colours = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + generator.integers(-4, 5, smooth.shape, dtype=np.int16)
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "PNG")
        (folder / f"class {number % CLASSES:03d}" / f"{number}.png").write_bytes(file.getvalue())
    return folder


def measured(made: Path, side: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "mlcore", "import", str(made), "--json", *(["--side", str(side)] if side else [])]
    environment = os.environ | {"LAB_DATA": str(folder / f"data-{side}"), "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    done = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    peak = Peak(done.pid)
    facts = json.loads(done.stdout.read())
    _, _, usage = os.wait4(done.pid, 0)
    done.returncode = 0
    peak.stop()
    seconds = time.perf_counter() - started
    again = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    images = facts["counts"]["images"]
    return {
        "images": images,
        "side": facts["side"],
        "seconds": round(seconds, 2),
        "images_per_s": round(images / seconds, 1),
        "cpu_ms_per_image": round(1000 * (usage.ru_utime + usage.ru_stime) / images, 3),
        "peak_mb": round(peak.megabytes, 1),
        "processes": peak.processes,
        "again_s": round(time.perf_counter() - again, 2),
    }


class Peak:
    """The most memory that a process and all below it hold at one time, looked at some ten times a second."""

    def __init__(self, pid: int) -> None:
        self.megabytes, self.processes = 0.0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def _watch(self, process: psutil.Process) -> None:
        while not self._over.wait(0.1):
            try:
                family = [process, *process.children(recursive=True)]
            except psutil.Error:
                return
            self.processes = max(self.processes, len(family))
            self.megabytes = max(self.megabytes, sum(map(resident, family)) / 2**20)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
