"""How long after Start is pressed the first optimiser step is done.

Start: the run's folder is made (`Runs.create`) and the supervisor woken, as the app does; its standby worker is ready.
The alternative: a fresh `python -m mlcore.worker --run` for the same folder. Both end when the event of step 1 is in
the run's file. Data: digits; network: the two-layer perceptron and the small convolutional one.

    python benchmarks/startup.py [--json FILE] [--starts 9] [--fresh 3]
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlcore.engines.supervisor import Supervisor
from mlcore.environment import child_environment
from mlcore.runs.folder import RunFolder, Runs
from mlcore.spec.run_spec import RunSpec

LOOK_S = 0.001
PATIENCE_S = 180.0


def spec_of(backbone: str) -> RunSpec:
    return RunSpec.read({"dataset": "digits", "backbone": backbone, "loss": "arcface", "budget": {"steps": 3}})


def wait_for(truth: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        if time.monotonic() > deadline:
            raise SystemExit("gave up waiting; is the machine very busy?")
        time.sleep(LOOK_S)


def stepped(run: RunFolder) -> bool:
    """Whether the first step's event can be read."""
    attempts = run.attempts()
    return bool(attempts) and any(event["kind"] == "step" for event in attempts[0].event_reader().read_new())


def press_start(runs: Runs, supervisor: Supervisor, spec: RunSpec) -> float:
    """Seconds from the press to the first step; then waits for the run's end and the next standby worker."""
    wait_for(lambda: supervisor.engine.ready)
    began = time.perf_counter()
    run = runs.create(spec)
    supervisor.wake()
    wait_for(lambda: stepped(run))
    took = time.perf_counter() - began
    wait_for(lambda: run.state.finished)
    return took


def fresh_process(runs: Runs, spec: RunSpec) -> float:
    began = time.perf_counter()
    run = runs.create(spec)
    command = [sys.executable, "-m", "mlcore.worker", "--run", str(run.path)]
    worker = subprocess.Popen(command, env=child_environment(), stdout=subprocess.DEVNULL)
    wait_for(lambda: stepped(run))
    took = time.perf_counter() - began
    worker.wait()
    return took


def measure(starts: int, fresh: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runs = Runs(folder)
        supervisor = Supervisor(runs, slots=1, projector=False)
        supervisor.start()
        try:
            for backbone in ("mlp", "small_conv"):
                times = [press_start(runs, supervisor, spec_of(backbone)) for _ in range(starts)]
                rows.append({"way": "standby worker", "backbone": backbone, **spread(times)})
        finally:
            supervisor.close()
        for backbone in ("mlp", "small_conv"):
            times = [fresh_process(runs, spec_of(backbone)) for _ in range(fresh)]
            rows.append({"way": "fresh process", "backbone": backbone, **spread(times)})
    return rows


def spread(times: list[float]) -> dict[str, Any]:
    return {"median_s": statistics.median(times), "min_s": min(times), "max_s": max(times), "starts": len(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--fresh", type=int, default=3)
    options = parser.parse_args()
    rows = measure(options.starts, options.fresh)
    load = os.getloadavg()[0]
    print(f"Start pressed to the first optimiser step ({os.cpu_count()} cores, load {load:.1f}); figure: <= 0.3 s")
    print(f"{'way':16} {'backbone':12} {'median':>8} {'min':>8} {'max':>8}  starts")
    for row in rows:
        times = " ".join(f"{row[name]:7.3f}s" for name in ("median_s", "min_s", "max_s"))
        print(f"{row['way']:16} {row['backbone']:12} {times}  {row['starts']}")
    if options.json:
        machine = {"cores": os.cpu_count(), "load": load, "python": platform.python_version()}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
