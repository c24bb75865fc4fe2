"""The supervisor: starts what is queued, notices what died, and stops what was asked to stop but did not.

One per runs folder, held by a file lock; a second server on the same folder leaves the work to the first and only
shows it. Everything it knows it reads from the folders, so it may be killed and started again at any time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from mlcore.engines.local import LocalEngine, Patience, close_input, start_process
from mlcore.runs.durable import sweep_temporaries
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.process import host, identity, lives, take_lock
from mlcore.runs.queue import Entry, Queue
from mlcore.runs.states import RunState
from mlcore.runs.status import Status
from mlcore.runs.truth import claimant, ended, unseen_end
from mlcore.session import NO_ROOM, NOT_MINE

TRIES = 3
TICK_S = 0.15
IDLE_TICK_S = 0.5  # with nothing going on; who queues a run wakes us
CANCEL_TERM_S = 5.0
CANCEL_KILL_S = 8.0
STALLED_S = 120.0
SETTLED_S = 15.0
AT_EASE_S = 4.0
TRASH_KEPT_S = 24 * 3600.0


@dataclass
class Pulse:
    """When a run's heartbeat last moved, and when it was first asked to stop, by our own clock."""

    beat: int
    moved: float
    asked: float | None = None


class Supervisor:
    """Runs `tick` in a thread until `close`; the pages call `wake` when they have queued something."""

    def __init__(self, runs: Runs, *, slots: int | None = None, projector: bool = True) -> None:
        self.runs = runs
        self.engine = LocalEngine(runs.root / ".worker.log", slots)
        self.queue = Queue(runs)
        self.with_projector = projector
        self.projector: subprocess.Popen[bytes] | None = None
        self.patience = Patience()
        self.lock: IO[bytes] | None = None
        self.pulses: dict[str, Pulse] = {}
        self.dispatched: dict[str, float] = {}
        self.submitted = -SETTLED_S
        self.began: float | None = None
        self.tries: Counter[tuple[str, int]] = Counter()
        self.fault = ""
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """Stop supervising. Runs go on; the next supervisor adopts them."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=15)
        self.engine.close()
        if self.projector is not None:
            close_input(self.projector)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.projector.wait(timeout=10)
        if self.lock is not None:
            with contextlib.suppress(OSError):
                self.runs.say("supervisor", {})
            self.lock.close()
            self.lock = None

    @property
    def in_charge(self) -> bool:
        return self.lock is not None

    def _loop(self) -> None:
        """Tick until the end. Whatever goes wrong in a tick is told, and tried again in the next."""
        while not self._closing.is_set():
            try:
                self.fault = self.tick(time.monotonic())
            except Exception as error:
                if self.fault != (fault := f"The runs folder cannot be looked after: {error}"):
                    traceback.print_exc()
                self.fault = fault
            self._wake.wait(TICK_S if self.pulses or self.dispatched else IDLE_TICK_S)
            self._wake.clear()

    def tick(self, now: float) -> str:
        """One look at everything; returns what went wrong, if anything. One run's fault does not harm the others."""
        if self.lock is None and not self.take_charge():
            return ""
        if self.began is None:
            self.began = now
        faults = []
        for run_id, code in self.engine.exited().items():
            with noting(faults):
                self.after_exit(RunFolder(self.runs.root / run_id), code)
        entries = [entry for entry in self.queue.unfinished() if entry.status.state != RunState.DRAFT]
        for entry in entries:
            with noting(faults):
                if entry.status.state == RunState.QUEUED:
                    self.watch_waiting(entry)
                else:
                    self.watch_going(entry, now)
        with noting(faults):
            self.start_waiting(entries, now)
            if self.may_prepare(entries, now):
                self.engine.keep_ready()
        with noting(faults):
            if self.at_ease(now):
                self.keep_projector()
        return "; ".join(faults)

    def take_charge(self) -> bool:
        """Whether this supervisor is now the one of this folder."""
        self.lock = take_lock(self.runs.lock_path())
        if self.lock is None:
            return False
        self.runs.say("supervisor", {**identity(), "slots": self.engine.slots})
        self.runs.empty_trash(TRASH_KEPT_S)
        self.runs.sweep_unmade()
        self.runs.drop_previews()
        return True

    def start_waiting(self, entries: list[Entry], now: float) -> None:
        """Fill the free slots; previews have one of their own, so they never stand before a run."""
        going = self.going(entries)
        free = {
            "run": self.engine.slots - sum(e.purpose == "run" for e in going),
            "preview": 1 - sum(e.purpose == "preview" for e in going),
        }
        for entry in entries:
            waits = entry.status.state == RunState.QUEUED and entry.run.run_id not in self.dispatched
            if waits and free[entry.purpose] > 0 and not entry.run.asked("cancel"):
                self.engine.submit(entry.run)
                self.submitted = now
                self.dispatched[entry.run.run_id] = now
                free[entry.purpose] -= 1

    def going(self, entries: list[Entry]) -> list[Entry]:
        """Those that hold one of this machine's slots, or have just been given one."""
        return [e for e in entries if e.run.run_id in self.dispatched or goes_on_here(e.status)]

    def may_prepare(self, entries: list[Entry], now: float) -> bool:
        """Whether the next standby worker may be started: its imports take 5 s of a core.

        Where every slot is taken that would be at the cost of a run that has only just begun, and whose first
        pictures somebody awaits; the standby worker is not needed yet.
        """
        if not self.at_ease(now):
            return False
        return now - self.submitted >= SETTLED_S or len(self.going(entries)) < self.engine.slots

    def at_ease(self, now: float) -> bool:
        """Whether the first page has had time to be drawn; before, only what somebody waits for is started."""
        return now - self.began >= AT_EASE_S

    def watch_waiting(self, entry: Entry) -> None:
        """A waiting run may be called off; one that a worker took and died over is ended."""
        run, status = entry.run, entry.status
        if run.run_id in self.dispatched:
            return
        claim = claimant(run.path, status.attempt)
        if claim is not None and claim["host"] == host():
            if not lives(claim["pid"], claim["pid_start"], claim["boot_id"]):
                self.bury(run, unseen_end(claim["boot_id"]))
        elif run.asked("cancel"):
            self.bury(run, ended(RunState.CANCELLED, "stopped", "Stopped before it began."))

    def watch_going(self, entry: Entry, now: float) -> None:
        """Is the worker alive, does its heart beat, does it obey?"""
        run, status = entry.run, entry.status
        self.dispatched.pop(run.run_id, None)
        if status.host not in ("", host()):
            return
        if not lives(status.pid, status.pid_start, status.boot_id):
            if run.run_id not in self.engine.children:
                self.bury(run, unseen_end(status.boot_id))
            return
        attempts = run.attempts()
        beat = attempts[-1].beat() if attempts else -1
        pulse = self.pulses.get(run.run_id)
        if pulse is None or pulse.beat != beat:
            pulse = self.pulses[run.run_id] = Pulse(beat, now, pulse.asked if pulse else None)
        if now - pulse.moved > STALLED_S:
            self.kill(status, signal.SIGKILL)
            text = f"The worker did not respond for {STALLED_S:.0f} seconds and was ended. It can be resumed."
            self.bury(run, ended(RunState.FAILED, "stalled", text))
            return
        if run.asked("cancel"):
            pulse.asked = pulse.asked if pulse.asked is not None else now
            if now - pulse.asked > CANCEL_KILL_S:
                self.kill(status, signal.SIGKILL)
            elif now - pulse.asked > CANCEL_TERM_S:
                self.kill(status, signal.SIGTERM)

    def silent_for(self, run_id: str) -> float:
        """Seconds since the run's heartbeat last moved, by our clock; 0 if unknown."""
        pulse = self.pulses.get(run_id)
        return time.monotonic() - pulse.moved if pulse else 0.0

    def after_exit(self, run: RunFolder, code: int) -> None:
        """A child of ours has ended: if it did not say how, we say it."""
        self.dispatched.pop(run.run_id, None)
        self.pulses.pop(run.run_id, None)
        status = run.stored()
        if status.state.finished or code == NOT_MINE:
            return
        if run.asked("cancel"):
            self.bury(run, ended(RunState.CANCELLED, "stopped", "Stopped on request. It can be resumed."))
        elif status.state == RunState.QUEUED and self.may_try_again(run, status):
            return
        elif code == NO_ROOM:
            text = f"The disk under {self.runs.root} is full. Free some space, then resume."
            self.bury(run, ended(RunState.FAILED, "disk_full", text))
        elif code < 0:
            text = f"The worker process was ended from outside ({signal_name(-code)})"
            hint = ", probably because memory ran out" if code == -signal.SIGKILL else ""
            self.bury(run, ended(RunState.FAILED, "worker_killed", f"{text}{hint}. It can be resumed."))
        else:
            text = "The worker process ended without saying why. The log has the details."
            self.bury(run, ended(RunState.FAILED, "worker_failed", text))

    def may_try_again(self, run: RunFolder, status: Status) -> bool:
        """Whether the worker died before it took up the run, which so is untouched, and not for the third time."""
        self.tries[run.run_id, status.attempt] += 1
        return claimant(run.path, status.attempt) is None and self.tries[run.run_id, status.attempt] < TRIES

    def bury(self, run: RunFolder, end: dict[str, Any]) -> None:
        """Write the end of a run whose worker can no longer do it, unless it did after all."""
        if not run.stored().state.finished:
            run.move(**end)
            sweep_temporaries(run.path)
        self.pulses.pop(run.run_id, None)

    def kill(self, status: Status, how: signal.Signals) -> None:
        if lives(status.pid, status.pid_start, status.boot_id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.pid, how)

    def keep_projector(self) -> None:
        """Have one projector. One that ended at once, as when another is still at work, is not replaced at once."""
        if not self.with_projector:
            return
        if self.projector is not None and self.projector.poll() is not None:
            self.patience.failed()
            close_input(self.projector)
            self.projector = None
        if self.projector is None and self.patience.over:
            log = self.runs.root / ".projector.log"
            self.projector = start_process("mlcore.projector", "--runs", str(self.runs.root), log=log)


def goes_on_here(status: Status) -> bool:
    """Whether a run holds one of this machine's slots."""
    return status.state != RunState.QUEUED and status.host in ("", host())


@contextlib.contextmanager
def noting(faults: list[str]) -> Iterator[None]:
    """Go on after a fault of the disk, or a run that has moved on meanwhile; the next tick looks again."""
    try:
        yield
    except (OSError, ValueError) as error:
        faults.append(str(error))


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
