"""The local engine: standby workers as child processes, each for exactly one run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mlcore.disk.atomic import open_private
from mlcore.environment import child_environment
from mlcore.runs.folder import RunFolder

LOG_LIMIT = 5 * 1024 * 1024


def start_process(module: str, *arguments: str, log: Path, speaks: bool = False) -> subprocess.Popen[bytes]:
    """`python -m module`, in a session of its own so that it outlives us; its input is a pipe that we hold.

    What it prints goes to the log, which is begun anew when it is long; `speaks`: what it says is read by us instead.
    """
    with open(log, "ab", opener=open_private) as output:
        if output.tell() > LOG_LIMIT:
            output.truncate(0)
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if speaks else output,
            stderr=output,
            env=child_environment(),
            start_new_session=True,
        )


def close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # what was not yet sent to a process that has ended
            process.stdin.close()


class Patience:
    """When a process that keeps ending may be started again: at once, then after 1, 2, 4 ... at most 10 seconds."""

    MOST_S = 10.0

    def __init__(self) -> None:
        self.failures = 0
        self.wait_s = 0.0
        self.not_before = 0.0

    def failed(self) -> None:
        self.wait_s = min(self.MOST_S, 0.0 if self.failures == 0 else 2.0 ** (self.failures - 1))
        self.not_before = time.monotonic() + self.wait_s
        self.failures += 1

    def worked(self) -> None:
        self.failures = 0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.not_before


@dataclass(eq=False)
class Standby:
    """A worker that waits for its run."""

    process: subprocess.Popen[bytes]
    ready: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(cls, log: Path) -> Standby:
        process = start_process("mlcore.worker", "--standby", log=log, speaks=True)
        assert process.stdout is not None
        standby = cls(process)
        threading.Thread(target=standby._await_word, args=(process.stdout,), name="standby", daemon=True).start()
        return standby

    def _await_word(self, words: IO[bytes]) -> None:
        with words:
            if words.readline().strip() == b"ready":
                self.ready.set()

    def alive(self) -> bool:
        return self.process.poll() is None

    def give(self, run: RunFolder) -> None:
        """Hand over the run. A worker that is not ready yet reads the line as soon as it is."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"run": str(run.path)}).encode() + b"\n")
        self.process.stdin.flush()


class LocalEngine:
    """Starts, polls and stops the processes of runs on this machine. Not thread-safe: one supervisor owns it."""

    name = "local"

    def __init__(self, log: Path, slots: int | None = None) -> None:
        self.log = log
        self.slots = slots or max(1, (os.cpu_count() or 1) // 2)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.standby: Standby | None = None
        self.patience = Patience()

    def keep_ready(self) -> bool:
        """Have one standby worker, replacing one that was used or died; False while that must wait.

        One that ends before it was ready would end again: the next is given more and more time.
        """
        if self.standby is not None and not self.standby.alive():
            if self.standby.ready.is_set():
                self.patience.worked()
            else:
                self.patience.failed()
            close_input(self.standby.process)
            self.standby = None
        if self.standby is None and self.patience.over:
            self.standby = Standby.start(self.log)
        return self.standby is not None

    @property
    def ready(self) -> bool:
        return self.standby is not None and self.standby.alive() and self.standby.ready.is_set()

    def submit(self, run: RunFolder) -> None:
        """Start the run's next attempt, in the standby worker; OSError if none can be had."""
        for _ in range(2):
            self.keep_ready()
            standby, self.standby = self.standby, None
            if standby is None:
                break
            try:
                standby.give(run)
            except OSError:
                standby.process.kill()
                standby.process.wait()
                close_input(standby.process)
                continue
            self.children[run.run_id] = standby.process
            return
        raise OSError(f"no worker process can be started; {self.log} says why")

    def exited(self) -> dict[str, int]:
        """Runs whose process has ended since the last call, with its exit code."""
        gone = {}
        for run_id, process in list(self.children.items()):
            code = process.poll()
            if code is not None:
                gone[run_id] = code
                del self.children[run_id]
                close_input(process)
        return gone

    def close(self) -> None:
        """Let the standby worker end; runs go on, and so must be able to do without us."""
        for process in self.children.values():
            close_input(process)
        if self.standby is not None:
            close_input(self.standby.process)
            self.standby.process.kill()
            self.standby.process.wait()
            self.standby = None
