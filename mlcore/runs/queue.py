"""The queue is the run folders themselves: who is waiting, in which order, and who is going on."""

from __future__ import annotations

from dataclasses import dataclass

from mlcore.disk.file_version import Stamp, file_stamp, same_stamp
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.states import RunState
from mlcore.runs.status import Status


@dataclass(frozen=True)
class Entry:
    """One unfinished run; `trouble`: why one that waits cannot be started, as a sentence."""

    run: RunFolder
    status: Status
    purpose: str
    trouble: str = ""


@dataclass(frozen=True)
class Known:
    """An entry with the stamps of the files that it was read from."""

    status_stamp: Stamp
    spec_stamp: Stamp | None
    entry: Entry


class Queue:
    """Follows the unfinished runs of a root; finished ones are read once and then left alone.

    A finished run that is resumed comes back because its status file changes. A waiting run that cannot be understood
    is set aside until its files change, and the others go on. All sessions may share one: what is known is replaced,
    never changed.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._seen: dict[str, Known] = {}

    def unfinished(self) -> list[Entry]:
        """Every run that waits or goes on, in the order in which they were queued."""
        return [entry for entry in self._entries() if not entry.trouble]

    def set_aside(self) -> dict[str, str]:
        """The waiting runs that cannot be started, by id, and why."""
        return {entry.run.run_id: entry.trouble for entry in self._entries() if entry.trouble}

    def waiting(self, purpose: str = "run") -> list[Entry]:
        return [e for e in self.unfinished() if e.status.state == RunState.QUEUED and e.purpose == purpose]

    def position(self, run_id: str) -> int | None:
        """How many runs are ahead of this waiting one; None if it is not waiting."""
        ids = [entry.run.run_id for entry in self.waiting()]
        return ids.index(run_id) if run_id in ids else None

    def _entries(self) -> list[Entry]:
        before = self._seen
        found = {run_id: known for run_id in self.runs.ids() if (known := self._read(run_id, before.get(run_id)))}
        self._seen = found
        entries = [known.entry for known in found.values() if not known.entry.status.state.finished]
        return sorted(entries, key=queue_order)

    def _read(self, run_id: str, known: Known | None) -> Known | None:
        """What is known of a run, read again if its files have changed; None for one that is being made or deleted."""
        folder = f"{self.runs.root}/{run_id}"
        status_stamp = file_stamp(f"{folder}/status.json")
        if status_stamp is None:
            return None
        unchanged = known if known is not None and same_stamp(known.status_stamp, status_stamp) else None
        if unchanged is not None and unchanged.entry.status.state.finished:
            return unchanged
        spec_stamp = file_stamp(f"{folder}/spec.json")
        if unchanged is not None and same_stamp(unchanged.spec_stamp, spec_stamp):
            return unchanged
        return Known(status_stamp, spec_stamp, read_entry(RunFolder(self.runs.root / run_id)))


def read_entry(run: RunFolder) -> Entry:
    """A run as its files say; only of one that waits must the spec be whole, for it is to be started."""
    status = run.stored_status()
    if status.state != RunState.QUEUED:
        return Entry(run, status, run.purpose)
    try:
        record = run.record
        if record.run_id != run.run_id:
            raise ValueError(f"Run {run.run_id}: its spec.json is that of run {record.run_id[:40]}.")
    except (ValueError, TypeError, RecursionError) as error:
        return Entry(run, status, "run", trouble=f"{error} It waits, and is passed over. Delete it, or make it right.")
    return Entry(run, status, record.purpose)


def queue_order(entry: Entry) -> tuple[int, str, str]:
    """Runs of before there were numbers come first, by the time of day at which they were queued."""
    return entry.status.number, entry.status.queued_utc or "", entry.run.run_id
