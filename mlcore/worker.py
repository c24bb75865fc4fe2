"""The worker: one process that runs one run folder. `python -m mlcore.worker --run PATH`, or `--standby`.

A standby worker has imported everything slow and waits on its standard input for one line, the folder to run; it
ends when that input is closed (the app is gone) unless a run has begun, for a run outlives the app.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.folder import RunFolder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mlcore.worker", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", type=Path, help="the run folder to run")
    which.add_argument("--standby", action="store_true", help="get ready, then take one folder from standard input")
    options = parser.parse_args(arguments)
    if options.standby:
        return stand_by()
    return run_folder(RunFolder(options.run.absolute()))


def stand_by() -> int:
    get_ready()
    with contextlib.suppress(BrokenPipeError):  # whoever gave us a run may be gone; the run is to be done all the same
        print("ready", flush=True)
    line = sys.stdin.readline()
    if not line.strip():
        return 0
    return run_folder(RunFolder(Path(json.loads(line)["run"])), log=True)


def get_ready() -> None:
    """Import and touch all that makes a first step slow: the parts, the optimizers' compiler, the sample sets."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    be_nice()
    import torch

    from mlcore.catalogue import cache_file, write_listing
    from mlcore.data import DATASETS, load
    from mlcore.training.device import default_threads

    for slow in ("mlcore.training.loop", "faiss"):
        importlib.import_module(slow)
    torch.set_num_threads(default_threads())
    image = torch.zeros(4, 3, 16, 16)
    layer = torch.nn.Conv2d(3, 8, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(image).square().mean().backward()
    optimizer.step()
    for key, spec in DATASETS.items():
        if spec.family == "sample":
            load(key)
    if not cache_file().exists():
        write_listing()


def be_nice() -> None:
    """A run never makes the machine unusable, and is what the kernel gives up first when memory ends."""
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(5)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a search that was given up may still be going on in a thread; nobody waits for it
