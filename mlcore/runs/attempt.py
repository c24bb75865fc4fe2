"""One attempt at a run: its events, snapshots, layouts and checkpoints, with a writer and a reader for each."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import numpy as np

from mlcore.disk.atomic import (
    LineReader,
    LineWriter,
    ManifestedFiles,
    make_folder,
    open_plain,
    open_private,
    read_verified,
    sweep_temporaries,
)
from mlcore.runs.records import EventRecord, FileEntry, LayoutEntry, is_event, is_file_entry, is_layout_entry

LOG_LIMIT = 5 * 1024 * 1024
CHECKPOINTS_KEPT = 2


class Attempt:
    """`attempts/NNN/`: made by the worker that runs it, read by everybody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = int(path.name)

    def writer(self) -> AttemptWriter:
        return AttemptWriter(self)

    def layout_writer(self) -> LayoutWriter:
        return LayoutWriter(self)

    def manifest_reader(self) -> LineReader[FileEntry]:
        return LineReader(self.path / "manifest.jsonl", is_file_entry)

    def layout_reader(self) -> LineReader[LayoutEntry]:
        return LineReader(self.path / "layouts" / "manifest.jsonl", is_layout_entry)

    def event_reader(self) -> LineReader[EventRecord]:
        return LineReader(self.path / "events-000.jsonl", is_event)

    def log_path(self) -> Path:
        return self.path / "worker.log"

    def open_log(self) -> TextIO:
        """The worker's log, to write at its end. Raises: OSError."""
        return open(self.log_path(), "a", encoding="utf-8", opener=open_private)

    def cut_log(self, limit: int = LOG_LIMIT) -> None:
        """Empty a log that has grown longer than `limit` bytes."""
        with contextlib.suppress(OSError):
            if self.log_path().stat().st_size > limit:
                os.truncate(self.log_path(), 0)

    def log_end(self, lines: int) -> str:
        try:
            with open_plain(self.log_path()) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 64 * 1024))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def beat(self) -> int:
        """The worker's heartbeat counter, -1 before the first."""
        try:
            with open_plain(self.path / "heartbeat") as file:
                return int(file.read(32) or b"-1")
        except (OSError, ValueError):
            return -1

    def read_arrays(self, entry: FileEntry | LayoutEntry, folder: str = "") -> dict[str, np.ndarray]:
        """The arrays of a manifest entry; ValueError when the file is damaged."""
        return decode_arrays(read_verified(self.path / folder, entry), entry["file"])

    def read_bytes(self, entry: FileEntry) -> bytes:
        """The bytes of a manifest entry; ValueError when they are not the ones that were written."""
        return read_verified(self.path, entry)

    def checkpoints(self) -> list[FileEntry]:
        """Manifest entries of the checkpoints that are there, oldest first."""
        kept: dict[str, FileEntry] = {}
        for entry in self.manifest_reader().read_new():
            if entry.get("kind") == "checkpoint":
                kept[entry["file"]] = entry
            elif entry.get("removed"):
                kept.pop(entry.get("file", ""), None)
        return list(kept.values())


def decode_arrays(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays in the bytes of an NPZ file, or of an NPY file as "points"; ValueError when they are damaged."""
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        return {"points": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    except Exception as error:  # NumPy and zipfile raise a dozen kinds on bytes that are not theirs
        raise ValueError(f"{name} is damaged: {error or type(error).__name__}") from None


def pack_arrays(arrays: dict[str, np.ndarray]) -> bytes:
    """An NPZ file of these arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # NumPy takes the arrays by any names but allow_pickle
    return buffer.getvalue()


class AttemptWriter:
    """The worker's pen: events line by line, arrays through the manifest, a heartbeat."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        sweep_temporaries(attempt.path)
        self.events = LineWriter(attempt.path / "events-000.jsonl")
        self.files = ManifestedFiles(attempt.path)
        self.heart = os.open(attempt.path / "heartbeat", os.O_WRONLY | os.O_CREAT, 0o600)
        self.beats = 0
        self.kept: list[str] = []

    def event(self, record: Mapping[str, object]) -> None:
        """Append an event; the manifest is told from which step the attempt goes on, for those who only read that."""
        if record["kind"] == "started":
            self.files.note(kind="began", step=record["from_step"])
        self.events.append(record)

    def beat(self) -> None:
        self.beats += 1
        os.pwrite(self.heart, f"{self.beats:<12d}".encode(), 0)

    def snapshot(self, step: int, arrays: dict[str, np.ndarray]) -> None:
        self.files.add(f"snapshots/{step:06d}.npz", pack_arrays(arrays), kind="snapshot", step=step)

    def checkpoint(self, step: int, data: bytes) -> None:
        """Keep this checkpoint and the one before it; older ones go."""
        name = f"checkpoints/{step:06d}.safetensors"
        if name in self.kept:
            return
        self.files.add(name, data, kind="checkpoint", step=step)
        self.kept.append(name)
        while len(self.kept) > CHECKPOINTS_KEPT:
            self.files.remove(self.kept.pop(0))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.events.sync()
        self.events.close()
        self.files.close()
        if self.heart >= 0:
            os.close(self.heart)
            self.heart = -1


class LayoutWriter:
    """The projector's pen: a map of one snapshot by one method, and how faithful it is."""

    def __init__(self, attempt: Attempt) -> None:
        folder = attempt.path / "layouts"
        make_folder(folder)
        sweep_temporaries(folder)
        self.files = ManifestedFiles(folder)

    def layout(self, method: str, step: int, points: np.ndarray, faith: dict[str, float], seconds: float) -> None:
        buffer = io.BytesIO()
        np.save(buffer, points.astype(np.float32))
        name = f"{method}/{step:06d}.npy"
        self.files.add(name, buffer.getvalue(), method=method, step=step, faith=faith, seconds=round(seconds, 4))

    def faith(self, method: str, step: int, faith: dict[str, float]) -> None:
        self.files.note(method=method, step=step, faith=faith)

    def failed(self, method: str, step: int, reason: str) -> None:
        self.files.note(method=method, step=step, failed=reason[:400])

    def close(self) -> None:
        self.files.close()
