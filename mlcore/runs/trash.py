"""Deleted runs, kept for a while; how long is measured by the machine's uptime, never by the time of day."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlcore.runs.durable import make_folder, read_json, replace_json, sync_folder
from mlcore.runs.process import boot_id, uptime_s


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
        make_folder(self.folder)
        target = self.folder / path.name
        if target.exists():
            os.replace(target, self._free_name(path.name))
        ages = self._ages()
        if ages.pop(path.name, None) is not None:
            self._write(ages)
        os.replace(path, target)
        sync_folder(self.root)

    def holds(self, name: str) -> bool:
        return (self.folder / name).is_dir()

    def take_back(self, name: str) -> None:
        """Move a run's folder back; something there that holds no run (no spec.json) makes room and goes to the trash.

        Raises: ValueError if a run of that name is there again.
        """
        target = self.root / name
        if (target / "spec.json").exists():
            raise ValueError(
                f"Run {name} is in {self.root} again; the one in the trash stays there. Rename one of them."
            )
        if target.exists():
            os.replace(target, self._free_name(name))
        os.replace(self.folder / name, target)
        sync_folder(self.root)

    def empty(self, older_than_s: float) -> int:
        """Remove for good what has been here for so long, in seconds of uptime; returns how many."""
        if not self.folder.is_dir():
            return 0
        ages, gone = self._ages(), 0
        for name in sorted(os.listdir(self.folder)):
            if ages.setdefault(name, 0.0) >= older_than_s:
                shutil.rmtree(self.folder / name, ignore_errors=True)
                gone += not (self.folder / name).exists()
        there = set(os.listdir(self.folder))
        self._write({name: age for name, age in ages.items() if name in there})
        return gone

    def _ages(self) -> dict[str, float]:
        """The seconds that each thing has been here, as far as this boot of the machine knows."""
        record = read_json(self.record)
        if not isinstance(record, dict) or not isinstance(record.get("ages"), dict):
            return {}
        at = record.get("uptime_s")
        same_boot = record.get("boot_id") == boot_id() and isinstance(at, int | float)
        passed = max(0.0, uptime_s() - at) if same_boot else 0.0
        return {name: age + passed for name, age in record["ages"].items() if isinstance(age, int | float)}

    def _write(self, ages: dict[str, float]) -> None:
        replace_json(self.record, {"boot_id": boot_id(), "uptime_s": uptime_s(), "ages": ages}, sync=False)

    def _free_name(self, name: str) -> Path:
        number = 1
        while (self.folder / f"{name}.{number}").exists():
            number += 1
        return self.folder / f"{name}.{number}"
