"""Folders in the runs folder that are no run as they stand, and why: said where people look for their runs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mlcore.disk.atomic import read_json
from mlcore.disk.file_version import Stamp, file_stamp, same_stamp
from mlcore.disk.run_id import RUN_ID
from mlcore.runs.folder import Runs
from mlcore.runs.queue import Queue


@dataclass(frozen=True)
class OddFolder:
    """A folder's name, and what is wrong with it as a sentence with what to do."""

    name: str
    trouble: str


class OddFolders:
    """Reads a folder again only when its spec has changed. All sessions may share one: what is known is replaced."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.queue = Queue(runs)
        self._seen: dict[str, tuple[Stamp | None, str]] = {}

    def read(self) -> list[OddFolder]:
        """Every odd folder, in the order of names: renamed, without a spec, or set aside by the queue."""
        with os.scandir(self.runs.root) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
        before = self._seen
        self._seen = known = {name: self._read(name, before.get(name)) for name in names}
        troubles = {name: trouble for name, (_, trouble) in known.items()} | self.queue.set_aside()
        return [OddFolder(name, trouble) for name, trouble in sorted(troubles.items()) if trouble]

    def _read(self, name: str, known: tuple[Stamp | None, str] | None) -> tuple[Stamp | None, str]:
        stamp = file_stamp(self.runs.root / name / "spec.json")
        if known is not None and same_stamp(known[0], stamp):
            return known
        return stamp, describe_trouble(self.runs, name)


def describe_trouble(runs: Runs, name: str) -> str:
    """Why a folder is no run as it stands; "" if it is one, or was never meant to be."""
    record = read_json(runs.root / name / "spec.json")
    inside = record.get("run_id") if isinstance(record, dict) else None
    if isinstance(inside, str) and RUN_ID.fullmatch(inside) and inside != name:
        if (runs.root / inside).exists():
            return (
                f"It holds a copy of run {inside}, which is here. Move the copy to another folder to look at it there."
            )
        return f"It holds run {inside}, but is not called so. Rename it to {inside} to have the run back."
    if RUN_ID.fullmatch(name) and not (runs.root / name / "spec.json").exists():
        return "It has the name of a run, but no spec.json, so there is no run in it. Move it away, or delete it."
    return ""
