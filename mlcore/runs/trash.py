"""Deleted runs, which stay for a day; how long is measured by the machine's uptime, never by the time of day."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from pathlib import Path

from mlcore.disk.atomic import DiskFull, make_folder, read_json, replace_json, sync_folder
from mlcore.disk.process import boot_id, uptime_s
from mlcore.disk.run_id import RUN_ID

STAYS_S = 24 * 3600.0
TRASHED_NAME = re.compile(rf"({RUN_ID.pattern})(\.[1-9][0-9]*)?")  # a second of the same name has a number
LEAVING = ".leaving-"  # what is being removed for good, and can no longer be taken back
CHANGING = threading.Lock()


class Trash:
    """The folder `.trash` of a runs folder; `.trash.json` says for how long each thing in it has surely been there.

    Time between two boots does not count, so a thing stays at least as long as it is to stay, however the clock is set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".trash"
        self.record = root / ".trash.json"

    def put(self, path: Path) -> None:
        """Move a run's folder here. What lay here under its name stays, under another."""
        with CHANGING:
            make_folder(self.folder)
            target, ages = self.folder / path.name, self._ages()
            if target.exists():
                other = self._free_name(path.name)
                ages[other.name] = ages.get(path.name, 0.0)
                os.replace(target, other)
            self._begin(path.name, ages)
            os.replace(path, target)
            sync_folder(self.root)

    def names(self) -> list[str]:
        """What can be taken back: the names of runs' folders, a number behind where several have one."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            return sorted(entry.name for entry in entries if TRASHED_NAME.fullmatch(entry.name) and entry.is_dir())
        return []

    def seconds_left(self, name: str) -> float:
        """The uptime after which a thing may be removed for good; 0 if that is due."""
        return max(0.0, STAYS_S - self._ages().get(name, 0.0))

    def take_back(self, name: str) -> Path:
        """Move a run's folder back; something there that holds no run (no spec.json) makes room and goes to the trash.

        Raises: FileNotFoundError if it is not here; ValueError if a run of that name is there again.
        """
        with CHANGING:
            trashed = TRASHED_NAME.fullmatch(name)
            if trashed is None or name not in self.names():
                raise FileNotFoundError(f"There is no '{name[:40]}' in the trash of {self.root}.")
            run_id = trashed[1]
            target = self.root / run_id
            if (target / "spec.json").exists():
                raise ValueError(
                    f"Run {run_id} is in {self.root} again; the one in the trash stays there. Delete the other first."
                )
            if target.exists():
                os.replace(target, self._free_name(run_id))
            os.replace(self.folder / name, target)
            sync_folder(self.root)
        return target

    def empty(self, older_than_s: float) -> int:
        """Remove for good what has been here for so long, in seconds of uptime; returns how many."""
        if not self.folder.is_dir():
            return 0
        with CHANGING:
            ages = self._ages()
            for name in os.listdir(self.folder):
                if not name.startswith(LEAVING) and ages.setdefault(name, 0.0) >= older_than_s:
                    with contextlib.suppress(OSError):  # it was taken back meanwhile, or cannot be moved
                        os.replace(self.folder / name, self.folder / f"{LEAVING}{name}")
            there = set(os.listdir(self.folder))
            self._write({name: age for name, age in ages.items() if name in there})
        leaving = [self.folder / name for name in sorted(there) if name.startswith(LEAVING)]
        for folder in leaving:
            shutil.rmtree(folder, ignore_errors=True)
        return sum(not folder.exists() for folder in leaving)

    def _begin(self, name: str, ages: dict[str, float]) -> None:
        """Count a thing's time from now. Where the disk is full it counts from later, which keeps it longer."""
        try:
            self._write({**ages, name: 0.0})
        except DiskFull:
            if name in ages:
                raise

    def _ages(self) -> dict[str, float]:
        """The seconds that each thing has been here, as far as this boot of the machine knows."""
        record = read_json(self.record)
        if not isinstance(record, dict) or not isinstance(record.get("ages"), dict):
            return {}
        at, same_boot = record.get("uptime_s"), record.get("boot_id") == boot_id()
        passed = max(0.0, uptime_s() - at) if same_boot and isinstance(at, int | float) else 0.0
        return {name: age + passed for name, age in record["ages"].items() if isinstance(age, int | float)}

    def _write(self, ages: dict[str, float]) -> None:
        replace_json(self.record, {"boot_id": boot_id(), "uptime_s": uptime_s(), "ages": ages}, sync=False)

    def _free_name(self, name: str) -> Path:
        number = 1
        while (self.folder / f"{name}.{number}").exists():
            number += 1
        return self.folder / f"{name}.{number}"


def time_left_words(seconds: float) -> str:
    """When something in the trash goes for good: 'in 23 h', 'in 40 min', 'any moment'."""
    if seconds >= 3600:
        return f"in {seconds / 3600:.0f} h"
    return f"in {seconds / 60:.0f} min" if seconds >= 60 else "any moment"
