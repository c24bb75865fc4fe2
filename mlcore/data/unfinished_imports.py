"""Imports that were begun and are no set yet: their hidden folders, who is at them, and removing what was left."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlcore.disk.atomic import make_folders, read_json
from mlcore.disk.process import take_lock

LOCK_TRIES, LOCK_WAIT_S = 10, 0.05


@dataclass(frozen=True)
class UnfinishedImport:
    """An import that was begun and is no set yet: its folder, what it imports, and how much room it takes, in bytes.

    `path` is None where it is not known any more. `title`, `key`, `knobs` and `options` are those it was asked for,
    with which the same import goes on. `held`: some process is at it.
    """

    folder: Path
    path: str | None
    title: str
    key: str
    knobs: dict[str, Any]
    options: dict[str, Any]
    bytes: int
    held: bool


def list_unfinished(root: Path) -> list[UnfinishedImport]:
    """The imports under a data root that were begun and not ended, in the order of their folders' names."""
    return [begun for folder in sorted(root.glob(".import-*")) if (begun := read_unfinished(folder)) is not None]


def remove_unfinished(root: Path) -> list[UnfinishedImport]:
    """Remove those that nobody is at; returns what was removed. To import such images again begins anew."""
    removed = []
    for begun in list_unfinished(root):
        lock = free_lock(begun.folder)
        if lock is None:
            continue
        with lock:
            shutil.rmtree(begun.folder, ignore_errors=True)
        if not begun.folder.exists():
            removed.append(begun)
    return removed


def read_unfinished(folder: Path) -> UnfinishedImport | None:
    """None where it is gone meanwhile."""
    lock = free_lock(folder)
    if lock is not None:
        lock.close()
    try:
        size = sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(folder))
    except OSError:
        return None
    plan = {"path": None, "title": "", "key": "", "knobs": {}, "options": {}, **(read_json(folder / "plan.json") or {})}
    facts = {name: plan[name] for name in ("title", "key", "knobs", "options")}
    return UnfinishedImport(folder, plan["path"] or None, **facts, bytes=size, held=lock is None)


def free_lock(folder: Path) -> IO[bytes] | None:
    """The lock of a folder of an import, taken; None where somebody has it, or the folder is gone."""
    try:
        lock = take_lock(folder / "lock")
        if lock is None or os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / "lock")):
            return lock
    except OSError:
        return None
    lock.close()
    return None


def patient_lock(folder: Path) -> IO[bytes] | None:
    """The lock of a folder that is made if it is not there. Who only looks whether it is held has it for a moment."""
    for left in reversed(range(LOCK_TRIES)):
        make_folders(folder)
        lock = free_lock(folder)
        if lock is not None or not left:
            return lock
        time.sleep(LOCK_WAIT_S)
    return None


def work_folder(root: Path, name: str) -> Path:
    return root / f".import-{name[:16]}"
