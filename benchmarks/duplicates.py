"""How long near-duplicates take to find among many hashes, beside comparing every pair in numpy.

Random 64-bit hashes, of which a share are copies of others with up to `distance` bits changed. Brute force is timed on
a part and its time for all is that times the number of pairs. Each search runs in a process of its own, so that peak
memory is the whole process (about 150 MB before it begins). `crowded`: a fifth of all images is alike.

    python benchmarks/duplicates.py [--json FILE] [--hashes 100000] [--distance 6]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlcore.data.prepare import complete_index, leave_out, near_duplicates

PART = 4_000
PLANTED = 0.05
CROWDED = 0.2


def planted(count: int, distance: int, *, crowded: bool) -> pd.DataFrame:
    """An index of `count` random hashes, some of them altered copies of earlier ones."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, size=count, dtype=np.uint64)
    copies = random.choice(np.arange(1, count), size=int(PLANTED * count), replace=False)
    hashes[copies] = hashes[random.integers(0, copies)]
    for _ in range(distance):
        flips = np.left_shift(np.uint64(1), random.integers(0, 64, size=len(copies)).astype(np.uint64))
        hashes[copies] ^= np.where(random.random(len(copies)) < 0.6, flips, np.uint64(0))
    if crowded:
        hashes[random.choice(count, size=int(CROWDED * count), replace=False)] = hashes[0]
    return complete_index(
        pd.DataFrame(
            {
                "file": [f"{n}.png" for n in range(count)],
                "label": random.integers(0, 1000, size=count).astype(str),
                "split": np.where(random.random(count) < 0.5, "train", "test"),
                "hash": [f"{number:016x}" for number in hashes.tolist()],
            }
        )
    )


def brute_force(index: pd.DataFrame, distance: int) -> set[tuple[int, int]]:
    """Every near pair of a small index, all against all."""
    codes = np.array([int(text, 16) for text in index["hash"]], dtype=np.uint64)
    bits = np.unpackbits(codes.view(np.uint8)).reshape(len(codes), 64).astype(np.float32)
    ones = bits.sum(1)
    apart = ones[:, None] + ones[None, :] - 2 * bits @ bits.T
    first, second = np.nonzero(np.triu(apart <= distance, 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def measure(what: str, count: int, distance: int) -> dict[str, Any]:
    """One search, timed, in this process."""
    index = planted(count, distance, crowded=what.endswith("crowded"))
    began = time.perf_counter()
    if what == "numpy":
        found = len(brute_force(index.head(PART), distance))
        seconds = (time.perf_counter() - began) * (count / PART) ** 2
        ours = near_duplicates(index.head(PART), distance).pairs
        assert set(zip(ours["first"], ours["second"], strict=True)) == brute_force(index.head(PART), distance)
        return {"what": f"numpy, every pair (from {PART})", "seconds": seconds, "memory_mb": None, "found": found}
    found = len((leave_out if what.startswith("leave out") else near_duplicates)(index, distance).pairs)
    seconds = time.perf_counter() - began
    return {"what": what, "seconds": seconds, "memory_mb": peak_mb(), "found": found}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--hashes", type=int, default=100_000)
    parser.add_argument("--distance", type=int, default=6)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.hashes, options.distance)))
        return
    rows = []
    for what in ("pairs", "leave out", "pairs, crowded", "leave out, crowded", "numpy"):
        command = [sys.executable, __file__, "--only", what]
        command += ["--hashes", str(options.hashes), "--distance", str(options.distance)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(row)
        memory = "-" if row["memory_mb"] is None else f"{row['memory_mb']:.0f} MB"
        print(f"{row['what']:32} {row['seconds']:8.2f} s  {memory:>9}  {row['found']} found", flush=True)
    if options.json:
        facts = {"hashes": options.hashes, "distance": options.distance, "machine": platform.platform()}
        options.json.write_text(json.dumps(facts | {"rows": rows}, indent=2))


if __name__ == "__main__":
    main()
