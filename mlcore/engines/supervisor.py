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
from typing import IO

from mlcore.disk.atomic import DiskFull, sweep_temporaries
from mlcore.disk.process import is_alive, is_here, process_identity, take_lock
from mlcore.engines.attempt_runner import NO_ROOM, NOT_MINE, TERMINATED
from mlcore.engines.local import LocalEngine, Patience, close_input, start_process
from mlcore.runs.disk_space import ROOM_BYTES, no_room_words
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.liveness import (
    FAR_LOST_S,
    FAR_SILENT_S,
    Ended,
    ending_changes,
    process_in_status,
    read_claimant,
    signs_of_life,
    unheard_end,
    unseen_end,
)
from mlcore.runs.queue import Entry, Queue
from mlcore.runs.states import RunState
from mlcore.runs.status import Status
from mlcore.runs.trash import STAYS_S

TRIES = 3
TICK_S = 0.15
IDLE_TICK_S = 0.5  # with nothing going on; who queues a run wakes us
CANCEL_TERM_S = 5.0
CANCEL_KILL_S = 8.0
STALLED_S = 120.0
SETTLED_S = 15.0
FIRST_PAGE_S = 4.0
TIDY_EVERY_S = 600.0


@dataclass
class HeartbeatWatch:
    """When a run's signs of life last changed, and when it was first asked to stop, by our own clock."""

    signs: object
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
        self.heartbeats: dict[str, HeartbeatWatch] = {}
        self.dispatched: dict[str, float] = {}
        self.submitted = -SETTLED_S
        self.began: float | None = None
        self.tries: Counter[tuple[str, int]] = Counter()
        self.fault = ""
        self.waits = ""
        self.room_bytes = ROOM_BYTES
        self.tidied: float | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread()

    def start(self, after_s: float = 0.0) -> None:
        """Begin to supervise, `after_s` seconds from now."""
        self._thread = threading.Thread(target=self._loop, args=(after_s,), name="supervisor", daemon=True)
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
                self.runs.publish("supervisor", {})
            self.lock.close()
            self.lock = None

    @property
    def in_charge(self) -> bool:
        return self.lock is not None

    def _loop(self, after_s: float) -> None:
        """Tick until the end. Whatever goes wrong in a tick is told, and tried again in the next."""
        self._closing.wait(after_s)
        while not self._closing.is_set():
            try:
                self.fault = self.tick(time.monotonic())
            except Exception as error:
                if self.fault != (fault := f"The runs folder cannot be looked after: {error}"):
                    traceback.print_exc()
                self.fault = fault
            self._wake.wait(TICK_S if self.heartbeats or self.dispatched else IDLE_TICK_S)
            self._wake.clear()

    def tick(self, now: float) -> str:
        """One look at everything; returns what went wrong, if anything. One run's fault does not harm the others."""
        if self.lock is None and not self.take_charge():
            return ""
        if self.began is None:
            self.began = now
        faults: list[str] = []
        with self.noting(faults):
            self.tidy(now)
        for run_id, code in self.engine.exited().items():
            with self.noting(faults):
                self.after_exit(RunFolder(self.runs.root / run_id), code)
        entries = [entry for entry in self.queue.unfinished() if entry.status.state != RunState.DRAFT]
        for entry in entries:
            with self.noting(faults):
                if entry.status.state == RunState.QUEUED:
                    self.watch_waiting(entry, now)
                else:
                    self.watch_going(entry, now)
        with self.noting(faults):
            self.start_waiting(entries, now)
            if self.may_start_standby(entries, now):
                self.engine.keep_ready()
        with self.noting(faults):
            if self.after_first_page(now):
                self.keep_projector()
        return "; ".join(filter(None, [*faults, self.waits]))

    @contextlib.contextmanager
    def noting(self, faults: list[str]) -> Iterator[None]:
        """Go on after a fault of the disk, or a run that has moved on meanwhile; the next tick looks again.

        Whatever else goes wrong is ours to mend, and is printed once.
        """
        try:
            yield
        except (OSError, ValueError) as error:
            faults.append(str(error))
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")
            if faults[-1] not in self.fault:
                traceback.print_exc()

    def take_charge(self) -> bool:
        """Whether this supervisor is now the one of this folder."""
        self.lock = take_lock(self.runs.lock_path())
        if self.lock is None:
            return False
        self.tell()
        return True

    def tell(self) -> None:
        """Leave word of ourselves and of what the queue waits for; on a full disk there is no room even for that."""
        with contextlib.suppress(DiskFull):
            self.runs.publish("supervisor", {**process_identity(), "slots": self.engine.slots, "waits": self.waits})

    def tidy(self, now: float) -> None:
        """From time to time, remove what nobody needs any more."""
        if self.tidied is not None and now - self.tidied < TIDY_EVERY_S:
            return
        if self.tidied is None:
            self.runs.sweep_unmade()
            self.runs.drop_previews()
        self.tidied = now
        self.runs.empty_trash(STAYS_S)

    def start_waiting(self, entries: list[Entry], now: float) -> None:
        """Fill the free slots while the disk has room; previews have one of their own, so they never stand before a
        run."""
        going = self.going(entries)
        free = {
            "run": self.engine.slots - sum(e.purpose == "run" for e in going),
            "preview": 1 - sum(e.purpose == "preview" for e in going),
        }
        waiting = [entry for entry in entries if self.may_start(entry)]
        self.note_room(needed=bool(waiting))
        for entry in waiting if not self.waits else ():
            if free[entry.purpose] > 0:
                self.engine.submit(entry.run)
                self.submitted = now
                self.dispatched[entry.run.run_id] = now
                free[entry.purpose] -= 1

    def may_start(self, entry: Entry) -> bool:
        """Whether a run waits and nobody has taken it: whoever begins an attempt makes its folder."""
        run, status = entry.run, entry.status
        waits = status.state == RunState.QUEUED and run.run_id not in self.dispatched and not run.asked("cancel")
        return waits and not run.attempt_path(status.attempt).exists()

    def note_room(self, *, needed: bool) -> None:
        """Say that the queue waits for room on the disk, or that it waits no more.

        After a run for which there was not enough, more must be free than there was then, or the next would end so.
        """
        free = self.runs.free_bytes()
        if free >= self.room_bytes:
            self.room_bytes = ROOM_BYTES
        waits = no_room_words(self.runs.root, free, self.room_bytes) if needed and free < self.room_bytes else ""
        if bool(waits) != bool(self.waits):
            self.waits = waits
            self.tell()
        self.waits = waits

    def going(self, entries: list[Entry]) -> list[Entry]:
        """Those that hold one of this machine's slots, or have just been given one."""
        return [e for e in entries if e.run.run_id in self.dispatched or goes_on_here(e.status)]

    def may_start_standby(self, entries: list[Entry], now: float) -> bool:
        """Whether the next standby worker may be started: its imports take 5 s of a core.

        Where every slot is taken that would be at the cost of a run that has only just begun, and whose first
        pictures somebody awaits; the standby worker is not needed yet.
        """
        if not self.after_first_page(now):
            return False
        return now - self.submitted >= SETTLED_S or len(self.going(entries)) < self.engine.slots

    def after_first_page(self, now: float) -> bool:
        """Whether the first page has had time to be drawn; before, only what somebody waits for is started."""
        return self.began is not None and now - self.began >= FIRST_PAGE_S

    def watch_waiting(self, entry: Entry, now: float) -> None:
        """A waiting run may be called off; one that a worker took and died over is ended."""
        run, status = entry.run, entry.status
        if run.run_id in self.dispatched:
            return
        if run.attempt_path(status.attempt).exists():
            claim = read_claimant(run.path, status.attempt)
            if claim is None:
                text = "Somebody began it and left no word of who it was. It can be resumed."
                self.mark_ended(run, ending_changes(RunState.LOST, "claim_unreadable", text))
            elif not is_here(claim):
                self.watch_elsewhere(run, status, now)
            elif not is_alive(claim["pid"], claim["pid_start"], claim["boot_id"]):
                self.mark_ended(run, unseen_end(claim["boot_id"]))
        elif run.asked("cancel"):
            self.mark_ended(run, ending_changes(RunState.CANCELLED, "stopped", "Stopped before it began."))

    def watch_elsewhere(self, run: RunFolder, status: Status, now: float) -> None:
        """A run of another machine is left alone while anything is heard of it, by our own clock; then it may be
        stopped here, and after some more time it is lost. Should it go on after all, it finds its run ended."""
        heartbeat = self.feel(run, signs_of_life(run.path, status), now)
        silent = now - heartbeat.moved
        if silent > FAR_LOST_S or (silent > FAR_SILENT_S and run.asked("cancel")):
            self.mark_ended(run, unheard_end(run.other_machine(), silent))

    def feel(self, run: RunFolder, signs: object, now: float) -> HeartbeatWatch:
        """The run's heartbeat, with what is seen of it now."""
        heartbeat = self.heartbeats.get(run.run_id)
        if heartbeat is None or heartbeat.signs != signs:
            heartbeat = self.heartbeats[run.run_id] = HeartbeatWatch(signs, now, heartbeat.asked if heartbeat else None)
        return heartbeat

    def watch_going(self, entry: Entry, now: float) -> None:
        """Is the worker alive, does its heart beat, does it obey?"""
        run, status = entry.run, entry.status
        self.dispatched.pop(run.run_id, None)
        if not is_here(process_in_status(status)):
            self.watch_elsewhere(run, status, now)
            return
        if not is_alive(status.pid, status.pid_start, status.boot_id):
            if run.run_id not in self.engine.children:
                self.mark_ended(run, unseen_end(status.boot_id))
            return
        attempts = run.attempts()
        heartbeat = self.feel(run, attempts[-1].beat() if attempts else -1, now)
        if now - heartbeat.moved > STALLED_S:
            self.kill(status, signal.SIGKILL)
            text = f"The worker did not respond for {STALLED_S:.0f} seconds and was ended. It can be resumed."
            self.mark_ended(run, ending_changes(RunState.FAILED, "stalled", text))
            return
        if run.asked("cancel"):
            heartbeat.asked = heartbeat.asked if heartbeat.asked is not None else now
            if now - heartbeat.asked > CANCEL_KILL_S:
                self.kill(status, signal.SIGKILL)
            elif now - heartbeat.asked > CANCEL_TERM_S:
                self.kill(status, signal.SIGTERM)

    def silent_for(self, run_id: str) -> float:
        """Seconds since the run's heartbeat last moved, by our clock; 0 if unknown."""
        heartbeat = self.heartbeats.get(run_id)
        return time.monotonic() - heartbeat.moved if heartbeat else 0.0

    def after_exit(self, run: RunFolder, code: int) -> None:
        """A child of ours has ended: if it did not say how, we say it."""
        self.dispatched.pop(run.run_id, None)
        self.heartbeats.pop(run.run_id, None)
        status = run.stored_status()
        if code == NO_ROOM or status.reason_code == "disk_full":
            self.room_bytes = self.runs.free_bytes() + ROOM_BYTES
        if status.state.finished or code == NOT_MINE:
            return
        claimed = run.attempt_path(status.attempt).exists()
        if run.asked("cancel"):
            self.mark_ended(
                run, ending_changes(RunState.CANCELLED, "stopped", "Stopped on request. It can be resumed.")
            )
        elif status.state == RunState.QUEUED and not claimed and (code == NO_ROOM or self.may_try_again(run, status)):
            return
        elif code == NO_ROOM:
            text = f"The disk under {self.runs.root} is full. Free some space, then resume."
            self.mark_ended(run, ending_changes(RunState.FAILED, "disk_full", text))
        elif code == -signal.SIGTERM:
            self.mark_ended(run, ending_changes(*TERMINATED))
        elif code < 0:
            text = f"The worker process was ended from outside ({signal_name(-code)})"
            hint = ", probably because memory ran out" if code == -signal.SIGKILL else ""
            self.mark_ended(run, ending_changes(RunState.FAILED, "worker_killed", f"{text}{hint}. It can be resumed."))
        else:
            text = "The worker process ended without saying why. The log has the details."
            self.mark_ended(run, ending_changes(RunState.FAILED, "worker_failed", text))

    def may_try_again(self, run: RunFolder, status: Status) -> bool:
        """Whether a worker that died before it took up the run, which so is untouched, did so for less than the third
        time."""
        self.tries[run.run_id, status.attempt] += 1
        return self.tries[run.run_id, status.attempt] < TRIES

    def mark_ended(self, run: RunFolder, end: Ended) -> None:
        """Write the end of a run whose worker can no longer do it, unless it did after all."""
        if not run.stored_status().state.finished:
            run.move(**end)
            sweep_temporaries(run.path)
        self.heartbeats.pop(run.run_id, None)

    def kill(self, status: Status, how: signal.Signals) -> None:
        if status.pid is not None and is_alive(status.pid, status.pid_start, status.boot_id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.pid, how)

    def keep_projector(self) -> None:
        """Have one projector. One that was ready and ended is replaced at once; one that ended before is given more
        and more time, as when another is still at work."""
        if not self.with_projector:
            return
        if self.projector is not None and self.projector.poll() is not None:
            gone, self.projector = self.projector, None
            close_input(gone)
            word = self.runs.read_helper_status("projector")
            if word.get("pid") == gone.pid and word.get("ready"):
                self.patience.worked()
            self.patience.failed()
            if not word["alive"]:
                self.runs.publish("projector", {"trouble": projector_words(gone.returncode, self.patience)})
        if self.projector is None and self.patience.over:
            log = self.runs.root / ".projector.log"
            self.projector = start_process("mlcore.projector", "--runs", str(self.runs.root), log=log)


def projector_words(code: int, patience: Patience) -> str:
    """How the projector ended and when the next one comes, to be told where its maps are awaited."""
    how = signal_name(-code) if code < 0 else f"code {code}"
    if patience.failures == 1:
        return f"the projector was ended ({how}) and is being started again"
    return (
        f"the projector has ended {patience.failures} times before it was ready (last: {how}); the next one is started "
        f"within {max(1.0, patience.wait_s):.0f} s, and .projector.log in the runs folder says more"
    )


def goes_on_here(status: Status) -> bool:
    """Whether a run holds one of this machine's slots."""
    return status.state != RunState.QUEUED and is_here(process_in_status(status))


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
