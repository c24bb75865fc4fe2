"""The run folder: who may write what, and what readers may trust. No other room opens these files.

Writers: `spec.json` once, at its making. `status.json` the supervisor before the start and after the exit, the worker
between. `control/` the person. `label.json` the person. `attempts/NNN/` that attempt's worker, but `layouts/` in it
the projector. Making the folder `attempts/NNN` is the claim: two processes cannot both start an attempt.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
from pydantic import ValidationError
from ulid import ULID

from mlcore.disk.atomic import CRASHES, make_folder, make_folders, read_json, replace_file, replace_json, sync_folder
from mlcore.disk.file_version import Stamp, file_stamp, same_stamp
from mlcore.disk.process import process_identity
from mlcore.disk.run_id import RUN_ID
from mlcore.runs.attempt import Attempt, decode_arrays, pack_arrays
from mlcore.runs.idempotency import Nonces
from mlcore.runs.liveness import machine_elsewhere, read_helper_status, signs_of_life, true_status, unheard_end
from mlcore.runs.queue_numbers import next_number
from mlcore.runs.records import Atlas, BirthParts, WatchNames, has_shape
from mlcore.runs.states import RunState, may_move
from mlcore.runs.status import Label, Purpose, RunRecord, Status, StatusFields, utc_now
from mlcore.runs.trash import Trash
from mlcore.spec.run_spec import SCHEMA, RunSpec

LISTEN_EVERY_S = 0.5
WATCH_LIMIT = 256 * 2**20
ControlRequest = Literal["cancel", "pause"]
LEAST_FREE_BYTES = 2**20


LABELLING = threading.Lock()  # name and note are one file, and two tabs may write one each


class RunNotFound(ValueError):
    """There is no run of that name here."""


@dataclass(frozen=True)
class TrashedRun:
    """A deleted run under its `name` in the trash, where it stays for `seconds_left` more of the machine's uptime."""

    name: str
    run: RunFolder
    seconds_left: float


class Runs:
    """All runs under one root folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().absolute()
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"the runs folder must be a folder; {self.root} is a file. Name another with --runs.")
        try:
            make_folders(self.root)
        except OSError as error:
            raise ValueError(f"the runs folder {self.root} cannot be made: {error.strerror}") from None

    def create(
        self,
        spec: RunSpec,
        *,
        state: RunState = RunState.QUEUED,
        purpose: Purpose = "run",
        parent: str | None = None,
        nonce: str | None = None,
    ) -> RunFolder:
        """A new run's folder, whole before it can be seen. The same `nonce` gives the same run, made once."""
        run_id = str(ULID()).lower()
        making = self.root / f".making-{run_id}"
        make_folder(making)
        for part in ("control", "attempts"):
            make_folder(making / part)
        record = RunRecord(
            run_id=run_id,
            created_utc=utc_now(),
            purpose=purpose,
            parent=parent,
            nonce=nonce,
            sha256=spec.digest(),
            versions=installed_versions(),
            spec=spec,
        )
        number = next_number(self.root)
        status = Status(run_id=run_id, state=state, total_steps=spec.budget.steps, number=number, queued_utc=utc_now())
        replace_json(making / "spec.json", record.model_dump(mode="json"))
        replace_json(making / "status.json", status.model_dump(mode="json"))
        if nonce and (first := Nonces(self.root).claim(nonce, run_id)) != run_id:
            shutil.rmtree(making)
            return self.open(first)
        os.replace(making, self.root / run_id)
        sync_folder(self.root)
        return RunFolder(self.root / run_id)

    def made(self, nonce: str) -> RunFolder | None:
        """The run that was made for a nonce, if it is here and whole; nothing is written."""
        run_id = Nonces(self.root).read(nonce)
        try:
            return self.open(run_id) if run_id and self.open(run_id).record else None
        except ValueError:
            return None

    def open(self, run_id: str) -> RunFolder:
        """The run of that id, which may be damaged; RunNotFound if it is no run id or there is none."""
        if not RUN_ID.fullmatch(run_id) or not (self.root / run_id).is_dir():
            raise RunNotFound(f"There is no run '{run_id[:40]}' in {self.root}.")
        return RunFolder(self.root / run_id)

    def find(self, text: str) -> RunFolder:
        """The run whose id is or ends with `text`, or whose name is `text` (the newest); for people who type."""
        wanted = text.strip().lower()
        if RUN_ID.fullmatch(wanted):
            return self.open(wanted)
        for run_id in reversed(self.ids()):
            if len(wanted) >= 4 and run_id.endswith(wanted):
                return self.open(run_id)
        for run_id in reversed(self.ids()):
            if self.open(run_id).title() == text:
                return self.open(run_id)
        raise RunNotFound(f"There is no run '{text[:40]}' in {self.root}. See: python -m mlcore runs")

    def ids(self) -> list[str]:
        """Every run's id, oldest first (ids sort by time)."""
        with os.scandir(self.root) as entries:
            return sorted(entry.name for entry in entries if RUN_ID.fullmatch(entry.name))

    def all(self, purpose: Purpose | None = "run") -> list[RunFolder]:
        folders = [RunFolder(self.root / run_id) for run_id in self.ids()]
        return [run for run in folders if purpose is None or run.purpose == purpose]

    def delete(self, run_id: str) -> None:
        """Move a run to the trash, whence `restore` brings it back; refused while it is going on."""
        run = self.open(run_id)
        run.settle()
        if run.state not in (RunState.DRAFT, RunState.QUEUED) and not run.state.finished:
            raise ValueError(f"{run.title()} is {run.going_words()}. Stop it before deleting it.")
        Trash(self.root).put(run.path)

    def trash(self) -> list[TrashedRun]:
        """The runs in the trash, the last deleted first; damaged ones too."""
        trash = Trash(self.root)
        found = [TrashedRun(name, RunFolder(trash.folder / name), trash.seconds_left(name)) for name in trash.names()]
        return sorted(found, key=lambda trashed: (trashed.seconds_left, trashed.name), reverse=True)

    def restore(self, name: str) -> RunFolder:
        """The run, back from the trash. RunNotFound if it is there no more; ValueError if it cannot come back."""
        try:
            return RunFolder(Trash(self.root).take_back(name))
        except FileNotFoundError:
            raise RunNotFound(
                f"Run '{name[:40]}' is no longer in the trash: it was restored, or its day was over."
            ) from None

    def find_in_trash(self, text: str) -> TrashedRun:
        """The trashed run whose name or id is or ends with `text`, or whose title it is (the last deleted)."""
        wanted, found = text.strip().lower(), self.trash()
        for same in (
            lambda trashed: wanted == trashed.name,
            lambda trashed: len(wanted) >= 4 and trashed.name.endswith(wanted),
            lambda trashed: trashed.run.title() == text,
        ):
            for trashed in found:
                if same(trashed):
                    return trashed
        raise RunNotFound(f"There is no run '{text[:40]}' in the trash of {self.root}. See: python -m mlcore trash")

    def empty_trash(self, older_than_s: float = 0.0) -> int:
        """Remove trashed runs for good; returns how many. See `Trash.empty`."""
        return Trash(self.root).empty(older_than_s)

    def drop_previews(self, keep: int = 40) -> int:
        """Remove all but the newest previews for good, which are made again when asked for; returns how many."""
        by_number = sorted(self.all("preview"), key=lambda run: (run.stored_status().number, run.run_id))
        old = [run for run in by_number if run.state.finished][:-keep]
        for run in old:
            shutil.rmtree(run.path, ignore_errors=True)
        return len(old)

    def publish(self, helper: str, record: Mapping[str, object]) -> None:
        """A background process (projector, supervisor) leaves word of itself."""
        replace_json(self.root / f".{helper}.json", record, sync=False)

    def read_helper_status(self, helper: str) -> dict[str, Any]:
        """What that process last said, with `alive` added."""
        return read_helper_status(self.root, helper)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def write_fault(self) -> str:
        """Why no run can be made here now, in a sentence with what to do; '' if one can."""
        try:
            if not os.access(self.root, os.W_OK | os.X_OK):
                return f"The runs folder {self.root} cannot be written to. Allow it, or set LAB_RUNS to another folder."
            if self.free_bytes() < LEAST_FREE_BYTES:
                return f"The disk of the runs folder {self.root} is full. Free some space."
        except OSError as error:
            return f"The runs folder {self.root} cannot be looked at: {error.strerror}."
        return ""

    def lock_path(self) -> Path:
        return self.root / ".supervisor.lock"

    def sweep_unmade(self, older_than_s: float = 3600.0) -> None:
        """Remove what is left of runs whose making was cut short."""
        now = time.time()
        for folder in self.root.glob(".making-*"):
            if now - folder.stat().st_mtime >= older_than_s:
                shutil.rmtree(folder, ignore_errors=True)


class RunVersion(NamedTuple):
    """The stamps of a run's status and label."""

    status: Stamp | None
    label: Stamp | None

    def is_same(self, other: RunVersion | None) -> bool:
        """Whether neither has surely changed since."""
        return other is not None and same_stamp(self.status, other.status) and same_stamp(self.label, other.label)

    def status_age_s(self) -> float:
        """Seconds since the status was written; infinite where there is none."""
        return (time.time_ns() - self.status.changed_ns) / 1e9 if self.status else math.inf


class RunFolder:
    """One run, as its folder tells it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name

    def __repr__(self) -> str:
        return f"RunFolder({self.run_id})"

    @property
    def record(self) -> RunRecord:
        """ValueError with a plain sentence when the file is missing, damaged or of a newer version."""
        record = read_json(self.path / "spec.json")
        if not isinstance(record, dict):
            raise ValueError(f"Run {self.run_id}: spec.json is missing or damaged.")
        version = record.get("schema_version", 0)
        if isinstance(version, int) and version > SCHEMA:
            raise ValueError(f"Run {self.run_id} was made by a newer version of the lab; update to open it.")
        try:
            return RunRecord.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise ValueError(f"Run {self.run_id}: spec.json cannot be understood: {where}: {first['msg']}.") from None

    def stored_record(self) -> BirthParts | None:
        """spec.json as it stands, also where this version lacks a part that it names; None where it is damaged."""
        record = read_json(self.path / "spec.json")
        return record if has_shape(record, BirthParts) else None

    @property
    def spec(self) -> RunSpec:
        return self.record.spec

    @property
    def purpose(self) -> Purpose:
        """What the run is for; one whose spec cannot be read counts as a person's own, so that it is listed."""
        record = read_json(self.path / "spec.json")
        return "preview" if isinstance(record, dict) and record.get("purpose") == "preview" else "run"

    def status(self) -> Status:
        """How the run stands: what is stored, or lost if its process is gone and no supervisor is there to see it."""
        return true_status(self.path, self.stored_status())

    def stored_status(self) -> Status:
        """The status as it was last written; a run whose file is unreadable counts as lost, and says so."""
        try:
            return Status.model_validate(read_json(self.path / "status.json"))
        except ValidationError:
            return Status(
                run_id=self.run_id,
                state=RunState.LOST,
                reason_code="status_unreadable",
                reason_text="The run's status file is missing or damaged. Its snapshots can still be opened.",
            )

    @property
    def state(self) -> RunState:
        return self.status().state

    def move(
        self, state: RunState, *, next_attempt: bool = False, sync: bool = True, **changes: Unpack[StatusFields]
    ) -> Status:
        """Write the next state; ValueError if a run in this state cannot go there.

        `sync` False for a state that need not outlive a power cut, which ends the run anyway.
        """
        before = self.stored_status()
        if not may_move(before.state, state, next_attempt=next_attempt):
            raise ValueError(f"Run {self.run_id} is {before.state} and cannot become {state}.")
        if next_attempt:
            fresh: StatusFields = {"attempt": before.attempt + 1, "ended_utc": None, **NEW_ATTEMPT}
            changes = {**fresh, **changes}
        return self.write_status(before.model_copy(update={"state": state, **changes}), sync=sync)

    def write_status(self, status: Status, *, sync: bool = True) -> Status:
        fresh = status.model_copy(update={"updated_utc": utc_now(), "seq": status.seq + 1})
        replace_json(self.path / "status.json", fresh.model_dump(mode="json"), sync=sync)
        return fresh

    def settle(self) -> None:
        """Write down the end of a run whose process is gone."""
        stored = self.stored_status()
        truth = true_status(self.path, stored)
        if truth.state != stored.state:
            self.write_status(truth)

    def label(self) -> Label:
        try:
            return Label.model_validate(read_json(self.path / "label.json") or {})
        except ValidationError:
            return Label()

    def set_label(self, **changes: str) -> None:
        """Name or note it; what is not named here stays as it is."""
        with LABELLING:
            replace_json(self.path / "label.json", self.label().model_copy(update=changes).model_dump())

    def title(self) -> str:
        """The name a person gave, else the spec's."""
        try:
            return self.label().name or self.spec.title()
        except ValueError:
            return self.run_id

    def ask(self, request: ControlRequest) -> None:
        """Ask the worker to cancel or pause; asking twice is asking once."""
        try:
            os.close(os.open(self.path / "control" / request, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return

    def asked(self, request: ControlRequest) -> bool:
        return (self.path / "control" / request).exists()

    def withdraw_request(self, request: ControlRequest) -> None:
        (self.path / "control" / request).unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask for the end of a run that is waiting or going on."""
        self.ask("cancel")

    def resume(self, state: RunState = RunState.QUEUED, **changes: Unpack[StatusFields]) -> None:
        """Begin the next attempt of a run that ended early (queued, or starting here); ValueError for any other.

        Who begins it itself says so in `changes` (its `process_identity`), or a supervisor would not know whose it is.
        """
        self.settle()
        if not self.state.resumable:
            raise ValueError(
                f"{self.title()} is {self.going_words()}; only a stopped, failed or lost run can be resumed."
            )
        self.withdraw_request("cancel")
        self.withdraw_request("pause")
        number = next_number(self.path.parent)
        queued: StatusFields = {"number": number, "queued_utc": utc_now(), **changes}
        self.move(state, next_attempt=True, **queued)

    def other_machine(self) -> str:
        """The name of the other machine on which the run goes on, as it says; "" if it is this one or it does not."""
        return machine_elsewhere(self.path, self.stored_status())

    def going_words(self) -> str:
        """'running', or 'running on another machine, NAME'."""
        machine = self.other_machine()
        return f"{self.state} on another machine, {machine}" if machine else str(self.state)

    def wait_for_sign_of_life(self, seconds: float, wait: Callable[[float], None] = time.sleep) -> bool:
        """Whether the run shows a sign of life before so many seconds are over, by our own clock."""
        before, deadline = signs_of_life(self.path, self.stored_status()), time.monotonic() + seconds
        while time.monotonic() < deadline:
            wait(LISTEN_EVERY_S)
            if signs_of_life(self.path, self.stored_status()) != before:
                return True
        return False

    def take_over(self, silent_s: float) -> None:
        """End a run of another machine of which nothing is heard; should that one go on, it finds its run ended."""
        self.move(**unheard_end(self.other_machine(), silent_s))

    def begin_attempt(self) -> Attempt:
        """Claim the status's attempt; FileExistsError if another process was first.

        The folder comes into place with the claimant's name in it, so a claim is never anonymous.
        """
        path = self.attempt_path(self.stored_status().attempt)
        claim = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns():x}.tmp")
        make_folder(claim)
        try:
            replace_json(claim / "claim.json", process_identity(), sync=False)
            os.rename(claim, path)
        except OSError as error:
            shutil.rmtree(claim, ignore_errors=True)
            if path.exists():
                raise FileExistsError(f"attempt {path.name} has been begun by another process") from None
            raise error
        CRASHES.passed("attempt.claimed")
        return Attempt(path)

    def attempt_path(self, number: int) -> Path:
        return self.path / "attempts" / f"{number:03d}"

    def attempts(self) -> list[Attempt]:
        """Every attempt that was begun, first to last."""
        found = [path for path in (self.path / "attempts").glob("[0-9]*") if path.name.isdecimal() and path.is_dir()]
        return [Attempt(path) for path in sorted(found, key=lambda path: int(path.name))]

    def version(self) -> RunVersion:
        """Which version of its status and its label lies there, without reading them."""
        return RunVersion(file_stamp(self.path / "status.json"), file_stamp(self.path / "label.json"))

    def has_watch(self) -> bool:
        """Whether the watched sample has been chosen."""
        return (self.path / "watch.json").exists()

    def write_watch(self, arrays: dict[str, np.ndarray], names: WatchNames) -> None:
        """The fixed sample that is watched, with its class and image names; written once.

        It is not synced, for the first step waits for it: what a power cut leaves of it is written anew.
        """
        with contextlib.suppress(ValueError):
            if self.watch() is not None:
                return
        replace_file(self.path / "watch.npz", pack_arrays(arrays), sync=False)
        replace_json(self.path / "watch.json", names, sync=False)

    def write_atlas(self, data: bytes, facts: Atlas) -> None:
        """The sample's thumbnails in one image file, and where each lies in it; written once."""
        make_folder(self.path / "thumbs")
        replace_file(self.path / "thumbs" / "atlas", data)
        replace_json(self.path / "thumbs" / "atlas.json", facts)

    def atlas(self) -> Atlas | None:
        """mime, tile, columns, count and key of the thumbnails, or None where they are not drawn or are damaged."""
        record = read_json(self.path / "thumbs" / "atlas.json")
        if not has_shape(record, Atlas):
            return None
        return {
            "mime": record["mime"],
            "tile": record["tile"],
            "columns": record["columns"],
            "count": record["count"],
            "key": record["key"],
        }

    def watch(self) -> tuple[dict[str, np.ndarray], WatchNames] | None:
        """The watched sample's arrays and names, or None before they are written.

        Raises: ValueError with a sentence if they are damaged.
        """
        if not self.has_watch():
            return None
        names = read_json(self.path / "watch.json", WATCH_LIMIT)
        if not has_shape(names, WatchNames):
            raise ValueError("watch.json is damaged")
        try:
            arrays = decode_arrays((self.path / "watch.npz").read_bytes(), "watch.npz")
        except OSError as error:
            raise ValueError(f"watch.npz cannot be read: {error.strerror}") from None
        if not sample_is_whole(arrays, names):
            raise ValueError("watch.npz and watch.json do not belong together")
        return arrays, names

    def atlas_bytes(self) -> bytes:
        try:
            return (self.path / "thumbs" / "atlas").read_bytes()
        except OSError:
            return b""

    def write_result(self, result: Mapping[str, object]) -> None:
        replace_json(self.path / "result.json", result)

    def result(self) -> dict[str, Any] | None:
        return read_json(self.path / "result.json")

    def size_bytes(self) -> int:
        total = 0
        for path in self.path.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a worker replaces files meanwhile
                total += path.lstat().st_size if path.is_file() else 0
        return total

    def log_end(self, lines: int = 50) -> str:
        """The last lines that the latest attempt's process printed."""
        attempts = self.attempts()
        return attempts[-1].log_end(lines) if attempts else ""

    def zip_bytes(self) -> Iterator[tuple[str, Path]]:
        """(name in the archive, path) of every file worth taking along."""
        for path in sorted(self.path.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield f"{self.run_id}/{path.relative_to(self.path).as_posix()}", path


def sample_is_whole(arrays: dict[str, np.ndarray], names: WatchNames) -> bool:
    """Whether the watched images have ids in order, labels that have names, a side, and names of their own."""
    count = len(names["image_names"])
    kinds = {"ids": "iu", "labels": "iu", "held_out": "b"}
    if not all(
        name in arrays and arrays[name].shape == (count,) and arrays[name].dtype.kind in kind
        for name, kind in kinds.items()
    ):
        return False
    ids, labels = arrays["ids"], arrays["labels"]
    return count == 0 or bool(
        (np.diff(ids.astype(np.int64)) > 0).all() and labels.min() >= 0 and labels.max() < len(names["class_names"])
    )


NEW_ATTEMPT: StatusFields = {
    "pid": None,
    "pid_start": None,
    "boot_id": "",
    "pid_space": "",
    "paused": False,
    "activity": "",
    "reason_code": "",
    "reason_text": "",
}


def installed_versions() -> dict[str, str]:
    """The versions that a run's numbers depend on, read without importing the packages."""
    found = {}
    for package in ("metric-learning-lab", "torch", "numpy", "timm", "umap-learn", "faiss-cpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found | {"python": platform.python_version()}
