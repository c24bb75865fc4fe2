"""Workers to be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

from mlcore.data import DATASETS
from mlcore.spec.run_spec import RunSpec

sys.path.insert(0, str(Path(__file__).parent))
from tiny_dataset import declare


class Forge:
    """Starts workers one after the other in forked processes; see `fork_server.py`."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        assert self.hear() == {"ready": True}

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def start(self, run, **order):
        """Begin a run; returns its worker's pid. `end` must follow."""
        self.process.stdin.write(json.dumps({"run": str(run.path), "started": True, **order}) + "\n")
        self.process.stdin.flush()
        return self.hear()["pid"]

    def end(self):
        """Wait for the worker; its exit code, negative for a signal."""
        return self.hear()["code"]

    def work(self, run, **order):
        self.start(run, **order)
        return self.end()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def forge():
    made = Forge()
    yield made
    made.close()


@pytest.fixture
def tiny(monkeypatch):
    """A run of a few hundredths of a second, for `forge` or this process."""
    monkeypatch.setattr(DATASETS, "_specs", dict(DATASETS._specs))
    declare()
    return RunSpec.read(
        {
            "dataset": "tiny",
            "backbone": "mlp",
            "head": {"embedding_size": 4},
            "loss": {"key": "arcface", "params": {"scale": 16.0}},
            "sampler": {"key": "m_per_class", "batch_size": 12},
            "budget": {"steps": 8},
            "watch": {"evaluate_every": 2, "points": 60},
            "threads": 1,
        }
    )
