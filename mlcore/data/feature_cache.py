"""Features of frozen backbones on the disk: computed once for a data set and a backbone, read by every run after.

Under the data root, `features/<digest>/` holds `features.npy`, mapped into memory where it is read, and `facts.json`,
which says what they are of. What is being computed is a hidden folder beside; the last act renames it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from mlcore.data.image_set_writer import HEAD, RESERVE, npy_head
from mlcore.data.store import data_root
from mlcore.disk.atomic import DiskFull, make_folders, read_json, replace_json, sync_folder, write_all
from mlcore.disk.process import take_lock

SCHEMA = 1
USUAL_ROOM_MB = 10_000
CHECKPOINT_S = 2.0
LEFT_ALONE_S = 86_400.0  # what was begun and not gone on with for so long is removed


class DamagedFeatures(ValueError):
    """What is on the disk is not what was written there."""


@dataclass(frozen=True)
class FeatureRequest:
    """Which features: `facts` is all that decides their numbers, as plain JSON; they are (rows, columns) float32."""

    facts: Mapping[str, object]
    rows: int
    columns: int

    @cached_property
    def digest(self) -> str:
        record = [SCHEMA, self.rows, self.columns, self.facts]
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def bytes(self) -> int:
        return HEAD + 4 * self.rows * self.columns

    @property
    def folder(self) -> Path:
        return features_root() / self.digest

    @property
    def making(self) -> Path:
        return features_root() / f".making-{self.digest}"


@dataclass(frozen=True)
class Kept:
    """One set of features on the disk, as `facts.json` says; `used` is when it was last asked for, s since 1970."""

    digest: str
    bytes: int
    used: float
    record: dict[str, Any]


def features_root() -> Path:
    return data_root() / "features"


def cache_limit_bytes() -> int:
    """How many bytes all features together may take: `LAB_FEATURES_MB`, else 10 GB; 0 keeps none.

    Raises: ValueError if it is no whole number from 0.
    """
    given = os.environ.get("LAB_FEATURES_MB", "").strip()
    if given and not given.isdigit():
        raise ValueError(f"LAB_FEATURES_MB must be a whole number of megabytes, 0 to keep none; got '{given[:40]}'.")
    return int(given or USUAL_ROOM_MB) * 2**20


def open_kept(wanted: FeatureRequest) -> np.ndarray | None:
    """The features, mapped from the disk and read-only; None if they are not there.

    A file that was touched since it was written is read as a whole once; if it is still the same, that is remembered.

    Raises: DamagedFeatures if it is not the one that was written.
    """
    folder = wanted.folder
    path, record = folder / "features.npy", read_json(folder / "facts.json")
    if record is None and not folder.exists():
        return None
    try:
        if record["shape"] != [wanted.rows, wanted.columns] or path.stat().st_size != wanted.bytes:
            raise DamagedFeatures(f"The features kept in {folder} are cut off or not whole.")
        stamp = file_stamp(path)
        if record["stamp"] != stamp:
            if file_sha256(path) != record["sha256"]:
                raise DamagedFeatures(f"The features kept in {folder} are not the ones that were written.")
            with contextlib.suppress(OSError):
                replace_json(folder / "facts.json", {**record, "stamp": stamp})
        features = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except DamagedFeatures:
        raise
    except (OSError, TypeError, KeyError, ValueError, EOFError) as error:
        raise DamagedFeatures(f"The features kept in {folder} cannot be read: {error}.") from None
    if features.dtype != np.float32 or features.shape != (wanted.rows, wanted.columns):
        raise DamagedFeatures(f"The features kept in {folder} are of another kind than was written.")
    with contextlib.suppress(OSError):
        os.utime(folder / "facts.json")
    return features


def lock_features(wanted: FeatureRequest) -> IO[bytes] | None:
    """Whoever has it may compute and write these features; None while another has it. It goes with the process.

    The lock's file stays: were it removed, two could hold a lock of the same name.
    """
    make_folders(features_root())
    return take_lock(features_root() / f".{wanted.digest}.lock")


def rows_made(wanted: FeatureRequest) -> int:
    """How many rows are on the disk of features that are being computed, or were begun."""
    record = read_json(wanted.making / "progress.json")
    return record["rows"] if record else 0


class FeatureWriter:
    """Writes features row after row, for one who holds their lock; goes on where the last writer was killed.

    Rows are on the disk before `progress.json` names them; what came after is written again.

    Raises: DiskFull, with everything up to then kept, before the disk is full.
    """

    def __init__(self, wanted: FeatureRequest) -> None:
        self.wanted = wanted
        self.folder = wanted.making
        make_folders(self.folder)
        self.path = self.folder / "features.npy"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._checkpointed = time.monotonic()
        self.rows = rows_made(wanted)
        if os.fstat(self._file).st_size < self._length():
            self.rows = 0
        os.ftruncate(self._file, self._length() if self.rows else 0)
        if not self.rows:
            write_all(self._file, npy_head((wanted.rows, wanted.columns), "<f4"))
        self.check_room((wanted.rows - self.rows) * 4 * wanted.columns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, features: np.ndarray) -> None:
        """The next rows (n, columns)."""
        write_all(self._file, np.ascontiguousarray(features, dtype="<f4").data.cast("B"))
        self.rows += len(features)
        if time.monotonic() - self._checkpointed >= CHECKPOINT_S:
            self.check_room(0)
            self.checkpoint()

    def checkpoint(self) -> None:
        os.fdatasync(self._file)
        replace_json(self.folder / "progress.json", {"rows": self.rows})
        self._checkpointed = time.monotonic()

    def check_room(self, count: int) -> None:
        """Raises: DiskFull if `count` more bytes leave less than half a gigabyte to others."""
        free = shutil.disk_usage(self.folder).free
        if free - count < RESERVE:
            raise DiskFull(
                f"The disk of {self.folder.parent} has {free / 2**20:.0f} MB free, and the features need "
                f"{count / 2**20:.0f} MB more beside the {RESERVE / 2**20:.0f} MB that are left to others."
            )

    def written(self) -> np.ndarray:
        """The rows so far, read into memory."""
        data = np.fromfile(self.path, "<f4", self.rows * self.wanted.columns, offset=HEAD)
        return data.reshape(self.rows, self.wanted.columns)

    def finish(self, told: Mapping[str, object]) -> None:
        """Show the features, which must be whole; `told` goes beside what decides their numbers into `facts.json`."""
        if self.rows != self.wanted.rows:
            raise ValueError(f"features must be whole before they are shown; {self.rows} of {self.wanted.rows} rows.")
        os.fsync(self._file)
        self.close()
        record = {
            "schema": SCHEMA,
            "shape": [self.wanted.rows, self.wanted.columns],
            "bytes": self.wanted.bytes,
            "sha256": file_sha256(self.path),
            "stamp": file_stamp(self.path),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "of": dict(self.wanted.facts),
            **told,
        }
        replace_json(self.folder / "facts.json", record)
        (self.folder / "progress.json").unlink(missing_ok=True)
        os.rename(self.folder, self.wanted.folder)
        sync_folder(features_root())
        make_room(self.wanted.digest)

    def discard(self) -> None:
        """Throw away all that was written."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _length(self) -> int:
        return HEAD + 4 * self.rows * self.wanted.columns


def all_kept() -> list[Kept]:
    """Every set of features, the one that was asked for last first."""
    found = []
    for path in features_root().glob("[0-9a-f]*/facts.json"):
        record = read_json(path)
        with contextlib.suppress(OSError):
            size = (path.parent / "features.npy").stat().st_size
            found.append(Kept(path.parent.name, size, path.stat().st_mtime, record if record else {}))
    return sorted(found, key=lambda kept: kept.used, reverse=True)


def remove_kept(digest: str) -> None:
    """Remove a set of features; runs that have it open go on with it."""
    hidden = features_root() / f".deleted-{digest}-{os.getpid()}-{time.monotonic_ns():x}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(features_root() / digest, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def make_room(keep: str) -> None:
    """Remove what was not asked for longest until the rest has room, and what was begun and left; never `keep`."""
    total, limit = 0, cache_limit_bytes()
    for kept in sorted(all_kept(), key=lambda kept: kept.digest != keep):
        total += kept.bytes
        if total > limit and kept.digest != keep:
            remove_kept(kept.digest)
    for begun in features_root().glob(".making-*"):
        with contextlib.suppress(OSError):
            if time.time() - begun.stat().st_mtime > LEFT_ALONE_S:
                lock = take_lock(features_root() / f".{begun.name.removeprefix('.making-')}.lock")
                if lock is not None:
                    with lock:
                        shutil.rmtree(begun, ignore_errors=True)


def file_stamp(path: Path) -> str:
    """Changes when somebody writes to the file; cheap."""
    facts = path.stat()
    return f"{facts.st_size}:{facts.st_mtime_ns}"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
