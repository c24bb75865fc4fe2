"""Training a head on kept features against training end to end, and ten losses one after another on kept features.

    python benchmarks/features.py [--dataset emoji] [--side 96] [--batch 32] [--loss arcface] [--steps 300] [--end 12]
                                  [--threads N] [--losses KEY ...] [--json FILE]

EfficientNet-Lite0 with ImageNet weights at `--side` px. End to end: batch-norm statistics kept, as is usual for it.
Steps are bare, without looks beside them, after the first few. Ten losses: runs of `--steps` steps each, from nothing
to the last look, on features that are there. Features go to a folder of this benchmark's own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LOSSES = (
    "arcface",
    "circle",
    "contrastive",
    "cosface",
    "multi_similarity",
    "normalized_softmax",
    "proxy_anchor",
    "proxy_nca",
    "supcon",
    "triplet_margin",
)
WARM_UP = 3  # steps that are not counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="emoji")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--loss", default="arcface")
    parser.add_argument("--steps", type=int, default=300, help="of each run on features")
    parser.add_argument("--end", type=int, default=12, help="steps end to end")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--losses", nargs="*", default=LOSSES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAB_DATA"] = folder
        found = measured(options)
    print(in_words(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    end = bare_steps(options, "batch_norm", options.end)
    print(f"end to end: {end['steps_per_s']:.2f} steps/s over {options.end} steps", flush=True)
    kept = bare_steps(options, "everything", options.steps)
    runs = {}
    start = time.perf_counter()
    for key in options.losses:
        runs[key] = whole_run(options, key)
        print(f"{key:20} {runs[key]['seconds']:6.2f} s  MAP@R {runs[key]['map_at_r']:.3f}", flush=True)
    chosen = ("dataset", "side", "batch", "loss", "threads", "steps")
    return {
        **{name: getattr(options, name) for name in chosen},
        "end_to_end": end,
        "kept": kept,
        "ratio": kept["steps_per_s"] / end["steps_per_s"],
        "runs": runs,
        "runs_s": time.perf_counter() - start,
    }


def trainer_of(options: argparse.Namespace, loss: str, freeze: str) -> Any:
    from mlcore.spec.run_spec import RunSpec
    from mlcore.training.loop import Trainer
    from mlcore.training.prepare import prepare

    settings = {
        "backbone": "efficientnet_lite0",
        "backbone.side": options.side,
        "backbone.freeze": freeze,
        "sampler.batch_size": options.batch,
        "budget.steps": options.steps,
    }
    usual = RunSpec.read({"dataset": options.dataset, "loss": loss, "threads": options.threads})
    return Trainer(prepare(usual.changed(settings)))


def bare_steps(options: argparse.Namespace, freeze: str, steps: int) -> dict[str, float]:
    """The steps alone, after the features where there are any."""
    from mlcore.training.before_first_step import compute_features
    from mlcore.training.step import train_step

    prepared = trainer_of(options, options.loss, freeze).prepared
    start = time.perf_counter()
    if freeze == "everything":
        list(compute_features(prepared, 0, lambda: False))
    features = time.perf_counter() - start
    for step in range(WARM_UP):
        train_step(prepared, step)
    start = time.perf_counter()
    for step in range(WARM_UP, WARM_UP + steps):
        train_step(prepared, step)
    return {"features_s": features, "steps_per_s": steps / (time.perf_counter() - start)}


def whole_run(options: argparse.Namespace, loss: str) -> dict[str, float]:
    """A run from its spec to its last word."""
    start = time.perf_counter()
    looks = [event for event in trainer_of(options, loss, "everything").events() if event.kind == "evaluated"]
    return {
        "seconds": time.perf_counter() - start,
        "map_at_r": looks[-1].held_out["map_at_r"],
        "no_training": looks[0].backbone["map_at_r"],
    }


def in_words(found: dict[str, Any]) -> str:
    end, kept = found["end_to_end"], found["kept"]
    return "\n".join(
        [
            "",
            f"{found['dataset']}, EfficientNet-Lite0 at {found['side']} px, batch {found['batch']}, {found['loss']}",
            "| what | steps/s |",
            "|---|---|",
            f"| end to end | {end['steps_per_s']:.2f} |",
            f"| head on kept features | {kept['steps_per_s']:.0f} |",
            f"| ratio (wanted: at least 20) | {found['ratio']:.0f} |",
            "",
            f"Computing the features once took {kept['features_s']:.1f} s.",
            f"{len(found['runs'])} losses one after another, {found['steps']} steps each: {found['runs_s']:.1f} s "
            f"(wanted: at most 60). No training: MAP@R {next(iter(found['runs'].values()))['no_training']:.3f}.",
        ]
    )


if __name__ == "__main__":
    main()
