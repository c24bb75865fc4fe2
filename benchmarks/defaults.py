"""What plain defaults make of a pretrained backbone: MAP@R on classes that were never trained on, before and after.

    python benchmarks/defaults.py [--dataset KEY_OR_PATH ...] [--loss KEY ... | --loss all] [--seconds 60] [--seeds 1]
                                  [--backbone efficientnet_lite0] [--frozen] [--set SETTING=VALUE ...] [--json FILE]

Each data set (one of the lab's own, the key of a set you imported, or a folder, zip or table of yours) is trained with
each loss from the command line as a newcomer would: a backbone, a loss, nothing else. "Before" are the untrained
backbone's own features.
`--frozen` keeps the backbone as it is, as the Data page's "Compare five losses" does. `--seconds 0` lets runs end by
themselves. The table has a row for each loss and a column for each set; below it are the median and the worst.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.lab.compare_losses import USUAL_FIVE
from mlcore.catalogue import registry
from mlcore.engines.local import child_environment

LOSSES = ("contrastive", *USUAL_FIVE)
NEEDS_TWO_VIEWS = "views"  # the family of losses that compare renderings or texts, not classes


def command(dataset: str, loss: str, seed: int, options: argparse.Namespace, runs: Path) -> list[str]:
    """The command line of one run; what was set by hand comes last."""
    settings = [f"dataset.split_seed={seed}", f"threads={os.cpu_count() or 1}"]
    if options.seconds:
        settings.append(f"budget.max_seconds={options.seconds}")
    if options.frozen:
        settings.append("backbone.freeze=everything")
    words = [sys.executable, "-m", "mlcore", "train", "--json", "--runs", str(runs), "--seed", str(seed)]
    words += ["--dataset", dataset, "--loss", loss, "--backbone", options.backbone]
    return words + [part for text in [*settings, *options.set] for part in ("--set", text)]


def measure(words: list[str]) -> dict[str, Any]:
    """One run: its MAP@R without training and at its end, how far it came, or why it failed."""
    done = subprocess.run(words, cwd=ROOT, env=child_environment(), capture_output=True, text=True)
    try:
        result = json.loads(done.stdout.splitlines()[-1])
        before, after = result["no_training"]["map_at_r"], result["after"]["held_out"]["map_at_r"]
        return {"before": before, "after": after, "steps": result["step"], "seconds": result["seconds"], "why": ""}
    except (ValueError, IndexError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return {"before": None, "after": None, "steps": None, "seconds": None, "why": said[-1][:160]}


def cell(rows: list[dict[str, Any]]) -> str:
    """'.375 -> .421 (+.046)', means over the seeds; what failed is said below the table."""
    if any(row["after"] is None for row in rows):
        return "failed"
    before, after = (statistics.mean(row[name] for row in rows) for name in ("before", "after"))
    return f"{before:.3f} -> {after:.3f} ({after - before:+.3f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", default=["glyphs", "emoji", "digits"], metavar="KEY_OR_PATH")
    parser.add_argument("--loss", nargs="+", default=list(LOSSES), metavar="KEY", help="or 'all' (default: six usual)")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--frozen", action="store_true", help="keep the backbone as it is and train a head")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training at most; 0 for no limit (default 60)")
    parser.add_argument("--seeds", type=int, default=1, help="splits and seeds to take the mean of (default 1)")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="as in mlcore train")
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    options = parser.parse_args()
    every = [key for key, part in registry("losses").items() if part.family != NEEDS_TWO_VIEWS]
    losses = every if options.loss == ["all"] else options.loss
    for path in options.dataset:
        if Path(path).exists():  # once, so that no run's time goes into it
            subprocess.run(
                [sys.executable, "-m", "mlcore", "import", path], cwd=ROOT, env=child_environment(), check=True
            )
    names = [Path(dataset).name for dataset in options.dataset]
    print(f"{options.backbone}{', frozen' * options.frozen}, {options.seconds:g} s, {options.seeds} seeds "
          f"{' '.join(options.set)}\n\n| loss | {' | '.join(names)} |\n|---|{'---|' * len(names)}")  # fmt: skip
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as runs:
        for loss in losses:
            cells = []
            for dataset, name in zip(options.dataset, names, strict=True):
                rows = [
                    {"loss": loss, "dataset": name, "seed": seed}
                    | measure(command(dataset, loss, seed, options, Path(runs)))
                    for seed in range(options.seeds)
                ]
                found += rows
                cells.append(cell(rows))
            print(f"| {loss} | {' | '.join(cells)} |", flush=True)
    for row in (row for row in found if row["why"]):
        print(f"failed: {row['loss']} on {row['dataset']}: {row['why']}")
    changes = {name: [row["after"] - row["before"] for row in found if row["dataset"] == name and not row["why"]]
               for name in names}  # fmt: skip
    for what, of in (("median", statistics.median), ("worst", min)):
        print(f"| **{what}** | {' | '.join(f'{of(values):+.3f}' if values else '-' for values in changes.values())} |")
    steps = [row["steps"] for row in found if row["steps"] is not None]
    print(f"\nsteps a run: {min(steps, default=0)} to {max(steps, default=0)}")
    if options.json:
        options.json.write_text(
            json.dumps({"options": vars(options) | {"json": str(options.json)}, "runs": found}, indent=1)
        )
    return 1 if any(row["why"] for row in found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
