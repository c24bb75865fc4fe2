"""What it costs a training to be watched: steps per second in the lab, against the bare torch loop.

The lab: a worker under a supervisor, UMAP kept warm by the projector, evaluations as often as a run has them by
default, and a reader that asks for news every 0.5 s as the page does. The bare loop: the same network, images, batches,
loss, optimizer and number of threads, and nothing else: no evaluation, no events, no files, no gradient norm. Both with
the same priority; they take turns. "while training" is from the first step's end to the last one's, with the
evaluations that go on beside it; "whole run" goes on to the run's last word, with the last evaluation.

    python benchmarks/training_overhead.py [--json FILE] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlcore.engines.supervisor import Supervisor
from mlcore.environment import child_environment
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History
from mlcore.spec.run_spec import RunSpec

TASKS = {"digits": 4000, "glyphs": 3000}  # about 25 s: a run of a few seconds waits for its ten looks
POLL_S = 0.5
PATIENCE_S = 400.0
NICE = 5  # as a worker has it


def spec_of(dataset: str, steps: int) -> RunSpec:
    record = {"dataset": dataset, "backbone": "small_conv", "loss": "arcface", "budget": {"steps": steps}, "threads": 1}
    return RunSpec.read(record)


def bare_loop(dataset: str, steps: int) -> float:
    """Steps per second of a loop as one would write it by hand. Runs in a process of its own."""
    os.nice(NICE)
    import numpy as np
    import torch

    from mlcore.backbones import BACKBONES
    from mlcore.data import load, split
    from mlcore.data.transforms import to_input
    from mlcore.losses import LOSSES
    from mlcore.samplers import SAMPLERS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = spec_of(dataset, steps)
    table = load(dataset)
    train = split(table.labels, "class", 0.5, 0).train
    classes, labels = np.unique(table.labels[train], return_inverse=True)
    backbone = BACKBONES["small_conv"].build({"image_size": table.image_size, "channels": table.channels})
    head = torch.nn.Linear(backbone.feature_size, spec.head.embedding_size)
    loss = LOSSES["arcface"].build({"num_classes": len(classes), "embedding_size": spec.head.embedding_size})
    sampler = SAMPLERS["m_per_class"].build({"labels": labels, "batch_size": spec.sampler.batch_size})
    parts = (backbone, head, loss)
    optimizer = torch.optim.AdamW([p for part in parts for p in part.parameters()], lr=1e-3)
    pixels, rows, targets = (torch.from_numpy(array.copy()) for array in (table.pixels, train, labels))
    done, epoch, began = 0, 0, 0.0
    while done < steps:
        epoch += 1
        for batch in sampler.epoch(epoch, 0):
            images = to_input(pixels[rows[batch]], backbone.input_format)
            optimizer.zero_grad()
            loss(head(backbone(images)), targets[batch]).backward()
            optimizer.step()
            done += 1
            if done == 1:
                began = time.perf_counter()
            if done == steps:
                break
    return (steps - 1) / (time.perf_counter() - began)


def bare(dataset: str, steps: int) -> float:
    command = [sys.executable, __file__, "--bare", dataset, "--steps", str(steps)]
    out = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
    return float(out.stdout)


def watched(runs: Runs, supervisor: Supervisor, dataset: str, steps: int) -> dict[str, float]:
    """Rates of a run in the lab, from its own events, while a reader polls."""
    wait_for_quiet(supervisor)
    run = runs.create(spec_of(dataset, steps))
    supervisor.wake()
    history = History(run)
    deadline = time.monotonic() + PATIENCE_S
    while not run.state.finished and time.monotonic() < deadline:
        history.refresh()
        time.sleep(POLL_S)
    if run.state != "done":
        raise SystemExit(f"the run is {run.state}: {run.status().reason_text} {run.log_end(5)}")
    history.refresh()
    return rates(run, history)


def wait_for_quiet(supervisor: Supervisor) -> None:
    """The standby worker is ready, UMAP warm, and every map of the run before is made."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        mapped = all(not awaited(run) for run in supervisor.runs.all())
        if supervisor.engine.ready and supervisor.runs.read_helper_status("projector").get("ready") and mapped:
            return
        time.sleep(0.1)
    raise SystemExit("gave up waiting for a worker and the projector; is the machine very busy?")


def awaited(run: RunFolder) -> bool:
    history = History(run)
    history.refresh()
    return any(("umap-2d", step) not in history.layouts for step in history.snapshots)


def rates(run: RunFolder, history: History) -> dict[str, float]:
    events = list(run.attempts()[0].event_reader().read_new())
    steps = [event["t"] for event in events if event["kind"] == "step"]
    return {
        "while_training": (len(steps) - 1) / (steps[-1] - steps[0]),
        "whole_run": len(steps) / (events[-1]["t"] - events[0]["t"]),
        "looks": len(history.evaluations),
        "maps": sum(method == "umap-2d" for method, _ in history.layouts),
    }


def measure(rounds: int, shorter: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runs = Runs(folder)
        supervisor = Supervisor(runs, slots=1, projector=True)
        supervisor.start()
        try:
            for dataset, steps in TASKS.items():
                steps //= shorter
                turns = [(bare(dataset, steps), watched(runs, supervisor, dataset, steps)) for _ in range(rounds)]
                rows.append(row_of(dataset, steps, turns))
        finally:
            supervisor.close()
    return rows


def row_of(dataset: str, steps: int, turns: list[tuple[float, dict[str, float]]]) -> dict[str, Any]:
    """Medians over the turns; the ratios are of each turn's two neighbours, for the machine's load changes."""
    return {
        "dataset": dataset,
        "steps": steps,
        "bare": statistics.median(alone for alone, _ in turns),
        **{name: statistics.median(lab[name] for _, lab in turns) for name in ("while_training", "whole_run", "looks")},
        "ratio": statistics.median(lab["while_training"] / alone for alone, lab in turns),
        "ratio_whole_run": statistics.median(lab["whole_run"] / alone for alone, lab in turns),
        "rounds": len(turns),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shorter", type=int, default=1, help="divide the number of steps")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(bare_loop(options.bare, options.steps))
        return
    rows = measure(options.rounds, options.shorter)
    load = os.getloadavg()[0]
    print(f"Training while the lab watches, steps/s ({os.cpu_count()} cores, load {load:.1f}); figure: >= 0.9 x")
    print("small_conv on   steps     bare  training  ratio  whole run  ratio  looks")
    for row in rows:
        print(
            f"{row['dataset']:14} {row['steps']:6} {row['bare']:8.1f} {row['while_training']:9.1f} {row['ratio']:6.2f} "
            f"{row['whole_run']:10.1f} {row['ratio_whole_run']:6.2f}  {row['looks']:.0f}"
        )
    if options.json:
        machine = {"cores": os.cpu_count(), "load": load, "python": platform.python_version()}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
