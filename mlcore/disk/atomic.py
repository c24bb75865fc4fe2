"""How bytes reach the disk: whole lines, atomic replacement, and a manifest before a file exists for readers.

Rules (each has its fault): a line is one unbuffered write; a short write is cut back to the last good byte, so a
full disk never leaves half a line; a replaced file is written beside its target, synced, renamed, and its folder
synced; a torn last line is ignored by readers and removed by the next writer.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Generic, TypeGuard, TypeVar

import psutil

Record = TypeVar("Record")
LINE_LIMIT = 16 * 1024
RESERVE_BYTES = 64 * 1024
RECORD_LIMIT = 8 * 2**20
READ_AT_ONCE = 64 * 2**20


class DiskFull(OSError):
    """No room for a write; what had been written before is whole."""


class CrashSites:
    """For crash tests: LAB_CRASH_AT=site:n kills this process at the n-th pass of a write site."""

    def __init__(self, wish: str) -> None:
        self.site, _, count = wish.partition(":")
        self.left = int(count or 1)

    def passed(self, site: str) -> None:
        if site == self.site:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


CRASHES = CrashSites(os.environ.get("LAB_CRASH_AT", ""))


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte or raise DiskFull, leaving the file as long as it was."""
    start = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        written = os.write(descriptor, data)
        while written < len(data):
            more = os.write(descriptor, data[written:])
            if more == 0:
                raise OSError(errno.ENOSPC, "the disk took no more bytes")
            written += more
    except OSError as error:
        os.ftruncate(descriptor, start)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(errno.ENOSPC, "the disk is full") from error
        raise


def replace_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Put `data` at `path` so that a reader sees the old or the new bytes, never a mixture."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns():x}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            CRASHES.passed(f"replace{path.suffix}.opened")
            write_all(descriptor, data)
            CRASHES.passed(f"replace{path.suffix}.written")
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        CRASHES.passed(f"replace{path.suffix}.synced")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    CRASHES.passed(f"replace{path.suffix}.replaced")
    if sync:
        sync_folder(path.parent)


def replace_json(path: Path, record: object, *, sync: bool = True) -> None:
    replace_file(path, json.dumps(record, allow_nan=False, separators=(",", ":")).encode(), sync=sync)


def open_plain(path: Path) -> IO[bytes]:
    """A plain file, open for reading. OSError for anything else: a pipe, say, would keep its reader waiting."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file")
    return os.fdopen(descriptor, "rb")


def read_json(path: Path, limit: int = RECORD_LIMIT) -> Any:
    """The record at `path`, or None where there is none, it is longer than `limit` bytes or is no JSON."""
    try:
        with open_plain(path) as file:
            data = file.read(limit + 1)
        return json.loads(data) if len(data) <= limit else None
    except (OSError, ValueError, RecursionError):
        return None


def make_folder(folder: Path) -> None:
    """A folder that only its owner may enter, if it is not there.

    The one above must be there, or FileNotFoundError: what was moved away meanwhile is not to come back empty.
    """
    folder.mkdir(mode=0o700, exist_ok=True)


def make_folders(folder: Path) -> None:
    """A folder, with those above it, that only its owner may enter; what is there already stays as it is."""
    if not folder.is_dir():
        make_folders(folder.parent)
        make_folder(folder)


def open_private(path: str, flags: int) -> int:
    """For `open(..., opener=open_private)`: a file that is made is for its owner only."""
    return os.open(path, flags, 0o600)


def sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporaries(folder: Path) -> None:
    """Remove the unfinished files of processes that are gone."""
    for leftover in list(folder.rglob(".*.tmp")):
        pid = leftover.name.split(".")[-3] if leftover.name.count(".") >= 4 else ""
        if not (pid.isdigit() and psutil.pid_exists(int(pid))):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


class LineWriter:
    """Appends whole JSON lines to one file, of which it is the only writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._cut_torn_line()
        self._synced = time.monotonic()

    def append(self, record: Mapping[str, object]) -> None:
        line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        if len(line) > LINE_LIMIT:
            raise ValueError(f"{self.path.name}: a line must be at most {LINE_LIMIT} bytes; got {len(line)}")
        CRASHES.passed(f"line.{self.path.stem}.before")
        write_all(self.descriptor, line)
        CRASHES.passed(f"line.{self.path.stem}.after")
        if time.monotonic() - self._synced > 1.0:
            self.sync()

    def sync(self) -> None:
        os.fsync(self.descriptor)
        self._synced = time.monotonic()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _cut_torn_line(self) -> None:
        size = os.lseek(self.descriptor, 0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - LINE_LIMIT)
            newline = os.pread(self.descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            os.ftruncate(self.descriptor, end)


class LineReader(Generic[Record]):
    """Reads the new whole lines of a growing file, from where it stopped; starts again if the file shrank.

    A line that is no record, or that `fits` refuses, is left out and counted in `left_out`. A file that is there and
    cannot be opened is told in `fault`.
    """

    def __init__(self, path: Path, fits: Callable[[dict[str, object]], TypeGuard[Record]]) -> None:
        self.path = path
        self.fits = fits
        self.offset = 0
        self.left_out = 0
        self.fault = ""

    def read_new(self) -> Iterator[Record]:
        try:
            with open_plain(self.path) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset = 0
                file.seek(self.offset)
                data = file.read(READ_AT_ONCE)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.fault = f"{self.path.name} cannot be read: {error.strerror}"
            return
        self.fault = ""
        end = data.rfind(b"\n") + 1
        self.offset += end
        for line in data[:end].split(b"\n")[:-1]:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict) and self.fits(record):
                yield record
            else:
                self.left_out += 1


class ManifestedFiles:
    """Binary files beside a manifest: a file exists for readers once a whole line of the manifest names it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = LineWriter(folder / "manifest.jsonl")

    def add(self, name: str, data: bytes, **facts: object) -> None:
        """`name` lies in the folder or one folder below. FileNotFoundError where the folder itself is gone by now."""
        path = self.folder / name
        make_folder(path.parent)
        replace_file(path, data)
        digest = hashlib.sha256(data).hexdigest()
        self.manifest.append({"file": name, "bytes": len(data), "sha256": digest, **facts})

    def note(self, **facts: object) -> None:
        """A manifest line about something that has no file of its own."""
        self.manifest.append(facts)

    def remove(self, name: str) -> None:
        self.manifest.append({"file": name, "removed": True})
        CRASHES.passed("manifest.removed")
        (self.folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        self.manifest.close()


def read_verified(folder: Path, entry: Mapping[str, object]) -> bytes:
    """The bytes of a manifest entry, or ValueError when they are not the ones that were written."""
    name = str(entry["file"])
    path = folder / name
    if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r}: a file of a run lies inside the run's folder; this name points out of it")
    try:
        with open_plain(path) as file:
            data = file.read()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(f"{name} is damaged: its bytes are not the ones that were written")
    return data


class DiskReserve:
    """A small file given up when the disk is full, so that the last words can still be written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take the room; its bytes are random, for some disks keep zeros in no room at all."""
        replace_file(self.path, os.urandom(RESERVE_BYTES), sync=False)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
