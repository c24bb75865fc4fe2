"""What has happened in a run so far, read bit by bit from its folder and kept: the reader behind every page."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from mlcore.disk.atomic import LineReader
from mlcore.runs.attempt import Attempt
from mlcore.runs.folder import RunFolder
from mlcore.runs.records import (
    MESSAGES,
    EvaluatedRecord,
    EventRecord,
    FileEntry,
    LayoutEntry,
    MessageRecord,
    ProgressRecord,
    StartedRecord,
    StepRecord,
)

FoundFile = tuple[Attempt, FileEntry]
FoundLayout = tuple[Attempt, LayoutEntry]


class AttemptReaders:
    """The three growing files of one attempt, each with its place.

    `last_step` is the step from which the next attempt went on: what this one did past it does not count, also when
    it comes late, from a worker that was taken for dead or from a projector that was still busy with it.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.events = attempt.event_reader()
        self.manifest = attempt.manifest_reader()
        self.layouts = attempt.layout_reader()
        self.last_step = float("inf")

    @property
    def all(self) -> tuple[LineReader[EventRecord], LineReader[FileEntry], LineReader[LayoutEntry]]:
        return self.events, self.manifest, self.layouts


class Pictures:
    """Snapshots and their layouts over all attempts; a resumed attempt replaces what it makes again.

    `refresh` reads what is new and returns whether anything was. Several threads may call it; but what it fills grows
    under a reader that is slower, so who shares one reads `History.freeze`.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.snapshots: dict[int, FoundFile] = {}
        self.layouts: dict[tuple[str, int], FoundLayout] = {}
        self.revision = 0
        self._readers: list[AttemptReaders] = []
        self._begun = {1}
        self._lock = threading.Lock()

    def faults(self) -> list[str]:
        """What could not be read so far, a sentence each."""
        with self._lock:
            return self._faults()

    def _faults(self) -> list[str]:
        readers = [reader for attempt in self._readers for reader in attempt.all]
        lines = sum(reader.left_out for reader in readers)
        told = [f"{lines} damaged {'line is' if lines == 1 else 'lines are'} left out."] if lines else []
        return told + [f"{reader.fault}." for reader in readers if reader.fault]

    def refresh(self) -> bool:
        with self._lock:
            before = self.revision
            self._refresh()
            return self.revision != before

    def _refresh(self) -> None:
        known = {readers.attempt.number for readers in self._readers}
        for attempt in self.run.attempts():
            if attempt.number not in known:
                self._readers.append(AttemptReaders(attempt))
        for readers in self._readers:
            self._read(readers)

    def _read(self, readers: AttemptReaders) -> None:
        attempt = readers.attempt
        for entry in readers.manifest.read_new():
            kind, step = entry.get("kind"), entry.get("step", 0)
            if kind == "began":
                self._go_on_from(step, attempt)
            elif kind == "snapshot" and step <= readers.last_step:
                self.revision += 1
                self.layouts = {key: found for key, found in self.layouts.items() if key[1] != step}
                self.snapshots = dict(sorted({**self.snapshots, step: (attempt, entry)}.items()))
        for layout in readers.layouts.read_new():
            owner, _ = self.snapshots.get(layout["step"], (None, None))
            if owner is not None and owner.number == attempt.number:
                self.revision += 1
                self.layouts = {**self.layouts, (layout["method"], layout["step"]): (attempt, layout)}

    def _go_on_from(self, step: int, attempt: Attempt) -> None:
        """What earlier attempts did past this step is done again by this one. Told twice, it happens once."""
        if attempt.number in self._begun:
            return
        self._begun.add(attempt.number)
        self.revision += 1
        for readers in self._readers:
            if readers.attempt.number < attempt.number:
                readers.last_step = min(readers.last_step, step)
        self.snapshots = {at: found for at, found in self.snapshots.items() if at <= step}
        self.layouts = {key: found for key, found in self.layouts.items() if key[1] <= step}


@dataclass(frozen=True, eq=False)
class FrozenHistory:
    """What was known of a run at one moment. Nothing in it changes, so one drawing of it agrees with itself."""

    snapshots: dict[int, FoundFile]
    layouts: dict[tuple[str, int], FoundLayout]
    steps: tuple[StepRecord, ...]
    evaluations: tuple[EvaluatedRecord, ...]
    messages: tuple[MessageRecord, ...]
    started: StartedRecord | None
    progress: ProgressRecord | None
    revision: int
    faults: tuple[str, ...]


class History(Pictures):
    """All of a run: its pictures, and the steps, evaluations and messages of its events."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__(run)
        self._frozen: FrozenHistory | None = None
        self.steps: list[StepRecord] = []
        self.evaluations: list[EvaluatedRecord] = []
        self.messages: list[MessageRecord] = []
        self.started: StartedRecord | None = None
        self.progress: ProgressRecord | None = None

    def freeze(self) -> FrozenHistory:
        """Read what is new; everything that is known now, for readers in several threads."""
        with self._lock:
            self._refresh()
            faults = tuple(self._faults())
            if self._frozen is None or (self._frozen.revision, self._frozen.faults) != (self.revision, faults):
                self._frozen = FrozenHistory(
                    snapshots=dict(self.snapshots),
                    layouts=dict(self.layouts),
                    steps=tuple(self.steps),
                    evaluations=tuple(self.evaluations),
                    messages=tuple(self.messages),
                    started=self.started,
                    progress=self.progress,
                    revision=self.revision,
                    faults=faults,
                )
            return self._frozen

    def _read(self, readers: AttemptReaders) -> None:
        super()._read(readers)
        for event in readers.events.read_new():
            if event.get("step", 0) > readers.last_step:
                continue
            self.revision += 1
            self._take(event, readers.attempt)

    def _take(self, event: EventRecord, attempt: Attempt) -> None:
        if event["kind"] == "started":
            self._go_on_from(event["from_step"], attempt)
            self.started = event
        elif event["kind"] == "step":
            self.steps.append(event)
        elif event["kind"] == "evaluated":
            self.evaluations = [*(e for e in self.evaluations if e["step"] != event["step"]), event]
        elif event["kind"] == "progress":
            self.progress = event
        elif event["kind"] in MESSAGES:
            self.messages.append(event)

    def _go_on_from(self, step: int, attempt: Attempt) -> None:
        if attempt.number not in self._begun:
            self.steps = [event for event in self.steps if event["step"] <= step]
            self.evaluations = [event for event in self.evaluations if event["step"] <= step]
        super()._go_on_from(step, attempt)


def warning_texts(messages: Iterable[MessageRecord]) -> list[str]:
    """What a run has warned of, each text once, in its order."""
    return list(dict.fromkeys(message["text"] for message in messages if message["kind"] == "warning"))


def is_idle(messages: Iterable[MessageRecord]) -> bool:
    """Whether steps of the run have taught nothing, as it warned itself."""
    return any(message.get("code") == "idle" for message in messages)


def training_fingerprint(run: RunFolder) -> str:
    """The fingerprint of the images that a run has seen, or is to see; '' if it has not begun and names none."""
    history = History(run)
    history.refresh()
    seen = history.started.get("fingerprint", "") if history.started else ""
    return seen or run.spec.dataset.fingerprint
