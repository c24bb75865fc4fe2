"""One attempt at a run, as the worker lives it: events to the folder, what a person asks for to the training."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Unpack

import numpy as np

from mlcore.disk.atomic import DiskFull, DiskReserve, sweep_temporaries
from mlcore.disk.process import process_identity
from mlcore.evaluation.metrics import METRICS, PRIMARY
from mlcore.runs.attempt import Attempt, AttemptWriter
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History
from mlcore.runs.liveness import ending_changes
from mlcore.runs.records import Atlas, CurvePoint, NamedNumbers, StatusMetrics
from mlcore.runs.states import RunState, may_move
from mlcore.runs.status import Status, StatusChanges, utc_now
from mlcore.training.events import (
    Checkpoint,
    Evaluated,
    Event,
    Finished,
    Progress,
    SnapshotTaken,
    Started,
    StepDone,
    TrainingFault,
)

if TYPE_CHECKING:
    from mlcore.data import ImageTable
    from mlcore.training.loop import ResumePoint, Trainer

WELL, FAILED, NOT_MINE, NO_ROOM = 0, 1, 3, 4  # exit codes
STATUS_EVERY_S = 0.4
BEAT_EVERY_S = 1.0
PAUSE_LOOK_S = 0.05
CURVE_POINTS = 40
TERMINATED = (
    RunState.CANCELLED,
    "terminated",
    "The worker was told to end from outside (SIGTERM), as when a machine is shut down. It can be resumed.",
)
OnEvent = Callable[[Event], None]
End = tuple[RunState, str, str]


def run_folder(run: RunFolder, *, log: bool = False, on_event: OnEvent | None = None) -> int:
    """Run the folder's present attempt to its end; 0 if it ended well. `on_event` is given every event."""
    try:
        attempt = run.begin_attempt()
    except (FileExistsError, FileNotFoundError) as error:
        print(f"{run.run_id}: {error}")
        return NOT_MINE
    except DiskFull:
        return NO_ROOM
    if log:
        redirect_output(attempt)
    return Session(run, attempt, on_event).run()


def redirect_output(attempt: Attempt) -> None:
    """Standard output and error go to the attempt's log."""
    with attempt.open_log() as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)


class Superseded(Exception):
    """The run goes on without this process: it was taken for dead, or its run was ended or deleted."""


class Session:
    """One attempt being run."""

    def __init__(self, run: RunFolder, attempt: Attempt, on_event: OnEvent | None) -> None:
        self.run_folder = run
        self.attempt = attempt
        self.on_event = on_event
        self.status: Status = run.stored_status()
        self.sequence = 0
        self.metrics: StatusMetrics = {**self.status.metrics}
        self.curve: list[CurvePoint] = list(self.metrics.get("curve", []))
        self.clock = Clock(self.status.seconds)
        self.status_written = 0.0
        self.terminated = threading.Event()
        self.drawing = threading.Thread()
        self.reserve = DiskReserve(attempt.path / ".ballast")

    def run(self) -> int:
        """The attempt from its first to its last word; an exit code."""
        try:
            return self.write_final_status(self.work())
        except Superseded:
            return NOT_MINE
        except DiskFull:
            return NO_ROOM
        finally:
            self.reserve.drop()

    def work(self) -> End:
        folder = self.run_folder
        try:
            self.status = folder.move(
                RunState.STARTING, sync=False, started_utc=utc_now(), activity="Getting ready", **process_identity()
            )
        except ValueError as error:
            raise Superseded(str(error)) from None
        self.tidy()
        with contextlib.ExitStack() as open_now:
            try:
                self.reserve.fill()
                self.writer = self.attempt.writer()
                open_now.callback(self.writer.close)
                open_now.enter_context(signals_lead_to(self.terminated.set, folder.stop))
                open_now.enter_context(Heartbeat(self.writer))
                end = self.train()
                self.write_end(end)
            except DiskFull:
                self.reserve.drop()
                end = self.no_room()
                with contextlib.suppress(DiskFull):
                    self.write_end(end)
            if self.drawing.is_alive():
                self.drawing.join()
        return end

    def tidy(self) -> None:
        """Remove what attempts that were killed have left half done."""
        sweep_temporaries(self.run_folder.path)
        for attempt in self.run_folder.attempts()[:-1]:
            DiskReserve(attempt.path / ".ballast").drop()

    def train(self) -> End:
        """Consume the training; returns the final state with its reason."""
        from mlcore.training.loop import Trainer
        from mlcore.training.prepare import prepare

        try:
            checkpoint, resume_point = self.last_checkpoint()
            folder = self.run_folder
            try:
                prepared = prepare(folder.spec, runs=folder.path.parent)
                trainer = Trainer(
                    prepared, resume_from=checkpoint, resume_point=resume_point, digest=folder.record.sha256
                )
            except ValueError as error:
                raise TrainingFault("bad_setting", str(error)) from error
            return self.consume(trainer)
        except TrainingFault as fault:
            self.write_error(fault.code, fault.text)
            return RunState.FAILED, fault.code, fault.text
        except (DiskFull, Superseded):
            raise
        except Exception as error:
            code, text = explain_failure(error)
            log_traceback(self.attempt)
            self.write_error(code, text)
            return RunState.FAILED, code, text

    def consume(self, trainer: Trainer) -> End:
        reason = "completed"
        with contextlib.closing(trainer.events()) as events:
            for event in events:
                self.handle(event)
                if isinstance(event, Started):
                    self.begin_running(trainer)
                elif isinstance(event, Finished):
                    reason = event.reason
                if not isinstance(event, Checkpoint):
                    self.poll_control(trainer)
        if self.terminated.is_set() and not self.run_folder.asked("cancel"):
            return TERMINATED
        if reason == "stopped":
            return RunState.CANCELLED, "stopped", "Stopped on request. It can be resumed."
        return RunState.DONE, reason, ""

    def handle(self, event: Event) -> None:
        """An event's files first, then its line, then the status."""
        if isinstance(event, SnapshotTaken):
            self.writer.snapshot(event.step, event.arrays)
        elif isinstance(event, Checkpoint):
            self.writer.checkpoint(event.step, event.data)
        self.write(event.record())
        self.update_status(event)
        if self.on_event is not None:
            self.on_event(event)

    def begin_running(self, trainer: Trainer) -> None:
        """The sample that is watched is written before the first snapshot, then the state is `running`."""
        table, sample = trainer.prepared.table, trainer.prepared.sample
        self.run_folder.write_watch(
            {"ids": sample.rows.astype("uint32"), "labels": sample.labels, "held_out": sample.held_out},
            {
                "dataset": table.key,
                "total": sample.total,
                "class_names": list(table.class_names),
                "image_names": [table.image_names[row] for row in sample.rows],
            },
        )
        self.drawing = threading.Thread(target=self.draw_thumbnails, args=(table, sample.rows), name="thumbnails")
        self.drawing.start()
        self.curve = points_before(self.curve, trainer.step + 1)
        self.put_status(state=RunState.RUNNING, activity="", step=trainer.step)

    def draw_thumbnails(self, table: ImageTable, rows: np.ndarray) -> None:
        from mlcore.data.thumbnails import MAX_SIDE, draw_atlas

        if self.run_folder.atlas() is None:
            tile = max(8, min(48, max(table.image_size), MAX_SIDE // (int(len(rows) ** 0.5) + 1)))
            pictures = draw_atlas(table.pixels, tile, rows)
            facts: Atlas = {
                "mime": pictures.mime,
                "tile": pictures.tile,
                "columns": pictures.columns,
                "count": pictures.count,
                "key": pictures.key,
            }
            with contextlib.suppress(DiskFull):
                self.run_folder.write_atlas(pictures.data, facts)

    def update_metrics(
        self, step: int, held_out: NamedNumbers, train: NamedNumbers, backbone: NamedNumbers | None
    ) -> None:
        """The metrics of a look into those that the status shows."""
        self.curve = [*points_before(self.curve, step), [step, held_out[PRIMARY]]]
        untrained = backbone or self.metrics.get("no_training")
        curve = thin_points(self.curve, CURVE_POINTS)
        self.metrics = {"step": step, "held_out": held_out, "train": train, "curve": curve}
        if untrained:
            self.metrics["no_training"] = untrained

    def update_status(self, event: Event) -> None:
        """Keep status.json true, at most a few times a second."""
        changes: StatusChanges = {}
        if isinstance(event, Evaluated):
            self.update_metrics(event.step, event.held_out, event.train, event.backbone)
            changes["activity"] = ""
        elif isinstance(event, Progress):
            changes["activity"] = f"{event.text}: {event.done} of {event.total}"
        elif isinstance(event, StepDone):
            changes = {"step": event.step, "activity": ""}
        self.status = self.status.model_copy(update=changes)
        if isinstance(event, Evaluated) or time.monotonic() - self.status_written > STATUS_EVERY_S:
            self.put_status()

    def poll_control(self, trainer: Trainer) -> None:
        """Cancel and pause, as files in control/ ask; while paused, nothing is pulled from the training."""
        folder = self.run_folder
        if self.must_stop():
            if not trainer.stopping:
                trainer.stop()
                folder.withdraw_request("pause")
                self.put_status(state=RunState.CANCELLING)
            return
        if not folder.asked("pause"):
            return
        self.clock.stop()
        self.put_status(paused=True)
        while folder.asked("pause") and not self.must_stop():
            for event in trainer.drain_events():
                self.handle(event)
            time.sleep(PAUSE_LOOK_S)
        self.clock.go_on()
        self.put_status(paused=False)
        self.poll_control(trainer)

    def must_stop(self) -> bool:
        return self.terminated.is_set() or self.run_folder.asked("cancel")

    def write(self, record: Mapping[str, object]) -> None:
        self.sequence += 1
        stamp = {"v": 1, "seq": self.sequence, "t": round(time.time(), 3), "attempt": self.attempt.number}
        self.writer.event({**stamp, **record})

    def write_error(self, code: str, text: str) -> None:
        self.write({"kind": "error", "step": self.status.step, "code": code, "text": text[:4000]})

    def write_end(self, end: End) -> None:
        """The result, then the last line: whoever reads that the run is done finds the result there."""
        state, code, text = end
        if state == RunState.DONE:
            folder = self.run_folder
            result = {"metrics": self.metrics, "seconds": self.clock.seconds(), **folder.record.versions}
            folder.write_result(result)
        self.write({"kind": "state", "step": self.status.step, "state": state, "code": code, "text": text[:4000]})

    def write_final_status(self, end: End) -> int:
        """The status, after everything that it speaks of."""
        state, code, text = end
        self.put_status(**ending_changes(state, code, text), sync=True)
        return WELL if state == RunState.DONE or code == "stopped" else FAILED

    def no_room(self) -> End:
        root = self.run_folder.path.parent
        free = Runs(root).free_bytes() // 2**20
        text = f"The disk under {root} is full ({free} MB free). Free some space, then resume."
        return RunState.FAILED, "disk_full", text

    def put_status(self, *, sync: bool = False, **changes: Unpack[StatusChanges]) -> None:
        """Write the status, unless it is no longer ours to write: another attempt has begun, or this one was ended."""
        stored = self.run_folder.stored_status()
        ours = stored.attempt == self.attempt.number and not stored.state.finished
        if not ours or not may_move(stored.state, changes.get("state", stored.state), next_attempt=False):
            raise Superseded(f"attempt {self.attempt.number} of {self.run_folder.run_id} was ended by another")
        self.status_written = time.monotonic()
        update = {"metrics": self.metrics, "seconds": self.clock.seconds(), **changes}
        self.status = self.run_folder.write_status(self.status.model_copy(update=update), sync=sync)

    def last_checkpoint(self) -> tuple[bytes | None, ResumePoint | None]:
        """The newest checkpoint of an earlier attempt whose bytes are whole, and what was seen up to it."""
        from mlcore.training.checkpoint import checkpoint_step

        for attempt in reversed(self.run_folder.attempts()[:-1]):
            for entry in reversed(attempt.checkpoints()):
                try:
                    data = attempt.read_bytes(entry)
                    return data, self.read_resume_point(checkpoint_step(data))
                except ValueError as error:
                    self.write({"kind": "warning", "step": 0, "text": str(error)})
        return None, None

    def read_resume_point(self, step: int) -> ResumePoint | None:
        """The last step, not after this one, that was both evaluated and pictured; None if there is none.

        What was measured up to this step is taken from the events, for a killed attempt may have left an older status.
        """
        from mlcore.training.loop import ResumePoint

        past = History(self.run_folder)
        past.refresh()
        evaluated = {event["step"]: event for event in past.evaluations if event["step"] <= step}
        for event in evaluated.values():
            self.update_metrics(event["step"], event["held_out"], event["train"], event.get("backbone"))
        for at in sorted((at for at in past.snapshots if at <= step and at in evaluated), reverse=True):
            attempt, entry = past.snapshots[at]
            try:
                arrays = attempt.read_arrays(entry)
            except ValueError:
                continue
            parts = [arrays[name] for name in ("pca", "proxy_pca") if name in arrays]
            return ResumePoint(at, np.concatenate(parts), whole=is_whole(evaluated[at]["held_out"]))
        return None


def is_whole(told: NamedNumbers) -> bool:
    """Whether a look told the expensive metrics too; which there are may have changed since."""
    return any(metric.key in told for metric in METRICS.of(expensive=True))


class Clock:
    """Seconds that a run has been going on, over all its attempts and without its pauses."""

    def __init__(self, before: float) -> None:
        self.before = before
        self.since: float | None = time.monotonic()

    def seconds(self) -> float:
        return round(self.before + (time.monotonic() - self.since if self.since is not None else 0.0), 2)

    def stop(self) -> None:
        self.before, self.since = self.seconds(), None

    def go_on(self) -> None:
        self.since = time.monotonic()


class Heartbeat:
    """A thread that counts up a number in the attempt's folder, so that a reader can tell slow from stuck."""

    def __init__(self, writer: AttemptWriter) -> None:
        self.writer = writer
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def _beat(self) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError):
                self.writer.beat()
            self.writer.attempt.cut_log()
            self.stopped.wait(BEAT_EVERY_S)


@contextlib.contextmanager
def signals_lead_to(terminate: Callable[[], None], interrupt: Callable[[], None]) -> Iterator[None]:
    """What SIGTERM and Ctrl-C do in the meantime; in a thread nothing, since only the main thread hears them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wishes = {signal.SIGTERM: terminate, signal.SIGINT: interrupt}
    before = {number: signal.signal(number, lambda *_, act=act: act()) for number, act in wishes.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_traceback(attempt: Attempt) -> None:
    """The present exception in the attempt's log, for those who look for the fault."""
    with contextlib.suppress(OSError), attempt.open_log() as log:
        traceback.print_exc(file=log)


def points_before(curve: list[CurvePoint], step: int) -> list[CurvePoint]:
    return [point for point in curve if point[0] is not None and point[0] < step]


def thin_points(points: list[CurvePoint], most: int) -> list[CurvePoint]:
    """At most about `most` of the points, evenly spread, with the first and the last."""
    stride = -(-len(points) // most)
    return points[:-1:stride] + points[-1:] if stride > 1 else points


def explain_failure(error: BaseException) -> tuple[str, str]:
    """A stable code and a sentence for a failure of the machine or of ours."""
    text = str(error)
    if "out of memory" in text.lower() or "can't allocate memory" in text or isinstance(error, MemoryError):
        return "out_of_memory", "There was not enough memory. Try a smaller batch, smaller images or fewer points."
    return "internal_error", f"{type(error).__name__}: {text[:500] or 'no message'}. The log has the details."
