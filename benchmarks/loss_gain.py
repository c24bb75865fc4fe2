"""Whether each declared part, started from the command line with its shipped defaults, lifts held-out MAP@R.

    python benchmarks/loss_gain.py [--section loss] [--room losses] [--only KEY ...] [--steps 300] [--jobs 1]
                              [--set SETTING=VALUE ...] [--dataset glyphs] [--seed 0] [--runs FOLDER] [--json FILE]

`--section` is a setting of RunSpec that names a part: loss, miner, sampler, loss.distance ... and `--room` where its
parts are declared, if that is not plain from the name. Each part is trained by `python -m mlcore train` and told in a
row of a Markdown table: MAP@R on the held-out classes at step 0 and at the end, the difference, the seconds, and, where
there is no lift, why it failed or what its docstring lets one expect.
Miners, samplers and what else wants pairs are tried with the triplet margin loss, unless `--set loss=KEY` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mlcore.catalogue import ROOMS, registry
from mlcore.commands.words import section_option
from mlcore.declare import PartSpec
from mlcore.environment import child_environment
from mlcore.spec.defaults import PART_ROOMS

HEADS = ("key", "title", "MAP@R before", "after", "lift", "seconds", "why not")
WITHOUT_PAIRS = ("loss", "dataset", "backbone")


def command(spec: PartSpec, options: argparse.Namespace, runs: Path) -> list[str]:
    """The command line that trains one part; what was set by hand comes last."""
    settings = [f"threads={max(1, (os.cpu_count() or 1) // options.jobs)}"]
    if options.section not in WITHOUT_PAIRS and not any(text.startswith("loss=") for text in options.set):
        settings.append("loss=triplet_margin")
    settings += options.set
    chosen = {"dataset": options.dataset, "steps": options.steps, "seed": options.seed}
    if options.section in PART_ROOMS:
        chosen[options.section] = spec.key
    else:
        settings.append(f"{options.section}={spec.key}")
    named = [part for name, value in chosen.items() for part in (section_option(name), str(value))]
    given = [part for text in settings for part in ("--set", text)]
    return [sys.executable, "-m", "mlcore", "train", "--json", "--runs", str(runs), *named, *given]


def tried(spec: PartSpec, options: argparse.Namespace, runs: Path) -> dict[str, Any]:
    """Train one part; a row of the table."""
    done = subprocess.run(
        command(spec, options, runs), cwd=ROOT, env=child_environment(), capture_output=True, text=True
    )
    row: dict[str, Any] = {"key": spec.key, "title": spec.title, "before": None, "after": None, "lift": None}
    row |= {"seconds": None, "why_not": ""}
    try:
        result = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return row | {"why_not": "failed: " + last_line(done.stderr)}
    before, after = (((result[when]["held_out"]) or {}).get("map_at_r") for when in ("before", "after"))
    row |= {"before": before, "after": after, "seconds": result["seconds"]}
    if result["state"] != "done" or before is None or after is None:
        return row | {"why_not": f"{result['state']}: {result['reason'] or 'no MAP@R'}"}
    row["lift"] = after - before
    return row if after > before else row | {"why_not": expectation(spec.description)}


def expectation(text: str) -> str:
    """The first two sentences of a docstring's 'What to expect', or that there is none."""
    found = re.search(r"What to expect:\s*(.+?)(?:\n\s*\n|\Z)", text, re.DOTALL)
    if not found:
        return "its docstring does not say"
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(found[1].split()))
    return " ".join(sentences[:2])


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def line_of(row: dict[str, Any]) -> str:
    """The row in Markdown."""
    numbers = [("before", ".3f"), ("after", ".3f"), ("lift", "+.3f"), ("seconds", ".1f")]
    shown = ["-" if row[name] is None else format(row[name], form) for name, form in numbers]
    cells = [f"`{row['key']}`", row["title"], *shown, row["why_not"]]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def room_of(options: argparse.Namespace) -> str:
    """Where the section's parts are declared."""
    name = options.section.rpartition(".")[2]
    return options.room or PART_ROOMS.get(options.section, f"{name}s")


def chosen_parts(options: argparse.Namespace) -> list[PartSpec]:
    room = registry(room_of(options))
    return [room[key] for key in options.only] if options.only else list(room.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--section", default="loss", help=f"{', '.join(PART_ROOMS)}, or a dotted one (default loss)")
    parser.add_argument("--room", choices=list(ROOMS), help="where its parts are declared, if its name does not say")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="these parts only (default: every one)")
    parser.add_argument("--dataset", default="glyphs")
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps of each run (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1); they share the cores")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="as in mlcore train")
    parser.add_argument("--runs", type=Path, help="keep the runs in this folder (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    try:
        specs = chosen_parts(options)
    except ValueError as error:
        parser.error(str(error))
    print(f"{options.section} parts on {options.dataset}, {options.steps} steps, seed {options.seed}, "
          f"{options.jobs} at a time {' '.join(options.set)}\n")  # fmt: skip
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS))
    rows = []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        runs = options.runs or Path(scratch, "runs")
        for row in pool.map(lambda spec: tried(spec, options, runs), specs):
            rows.append(row)
            print(line_of(row), flush=True)
    lifted = sum(row["lift"] is not None and row["lift"] > 0 for row in rows)
    print(f"\n{lifted} of {len(rows)} lift MAP@R.")
    if options.json:
        facts = {name: getattr(options, name) for name in ("section", "dataset", "steps", "seed", "jobs", "set")}
        options.json.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    return 1 if any(row["lift"] is None for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
