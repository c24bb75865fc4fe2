"""The queue is the run folders themselves: who is waiting, in which order, and who is going on."""

from __future__ import annotations

from dataclasses import dataclass

from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.stamp import Stamp, same, stamp_of
from mlcore.runs.states import RunState
from mlcore.runs.status import Status


@dataclass(frozen=True)
class Entry:
    """One unfinished run."""

    run: RunFolder
    status: Status
    purpose: str


class Queue:
    """Follows the unfinished runs of a root; finished ones are read once and then left alone.

    A finished run that is resumed comes back because its status file changes.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._seen: dict[str, tuple[Stamp, Entry]] = {}

    def unfinished(self) -> list[Entry]:
        """Every run that waits or goes on, in the order in which they asked to start."""
        ids = self.runs.ids()
        for run_id in self._seen.keys() - set(ids):
            del self._seen[run_id]
        entries = [entry for run_id in ids if (entry := self._entry(run_id)) and not entry.status.state.finished]
        return sorted(entries, key=lambda entry: (entry.status.queued_utc or "", entry.run.run_id))

    def waiting(self, purpose: str = "run") -> list[Entry]:
        return [e for e in self.unfinished() if e.status.state == RunState.QUEUED and e.purpose == purpose]

    def position(self, run_id: str) -> int | None:
        """How many runs are ahead of this waiting one; None if it is not waiting."""
        ids = [entry.run.run_id for entry in self.waiting()]
        return ids.index(run_id) if run_id in ids else None

    def _entry(self, run_id: str) -> Entry | None:
        stamp = stamp_of(f"{self.runs.root}/{run_id}/status.json")
        if stamp is None:
            return None
        known = self._seen.get(run_id)
        if known is None or not same(known[0], stamp):
            run = RunFolder(self.runs.root / run_id)
            known = (stamp, Entry(run, run.stored(), known[1].purpose if known else run.purpose))
            self._seen[run_id] = known
        return known[1]
