"""What a stored status is worth: a run whose process is gone is lost, also while nobody is there to write it down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlcore.runs.durable import read_json
from mlcore.runs.process import boot_id, host, lives
from mlcore.runs.states import RunState
from mlcore.runs.status import Status, utc_now


def heard(root: Path, helper: str) -> dict[str, Any]:
    """What a background process (projector, supervisor) last said of itself, with `alive` added."""
    record = read_json(root / f".{helper}.json") or {}
    here = record.get("host", host()) == host()
    return record | {"alive": here and lives(record.get("pid"), record.get("pid_start"), record.get("boot_id", ""))}


def true_status(run: Path, stored: Status) -> Status:
    """The stored status, or what has become of the run if the process that it names is gone.

    While a supervisor lives it is left to that one, which knows better how its child ended.
    """
    if stored.state.finished or stored.state == RunState.DRAFT:
        return stored
    named: dict[str, Any] = stored.model_dump(include={"pid", "pid_start", "boot_id", "host"})
    if stored.state == RunState.QUEUED:
        named = claimant(run, stored.attempt) or {}
    if named.get("pid") is None or named["host"] != host():
        return stored
    if lives(named["pid"], named["pid_start"], named["boot_id"]) or heard(run.parent, "supervisor")["alive"]:
        return stored
    return stored.model_copy(update=unseen_end(named["boot_id"]))


def claimant(run: Path, attempt: int) -> dict[str, Any] | None:
    """The process that has made this attempt its own, or None if nobody has."""
    record = read_json(run / "attempts" / f"{attempt:03d}" / "claim.json")
    return record if isinstance(record, dict) else None


def unseen_end(boot: str) -> dict[str, Any]:
    """The changes to the status of a run whose process is gone and left no word."""
    code, text = "worker_gone", "The worker process is gone and left no word. It can be resumed."
    if boot not in ("", boot_id()):
        code, text = "machine_restarted", "The machine was restarted while the run was going on. It can be resumed."
    return ended(RunState.LOST, code, text)


def ended(state: RunState, code: str, text: str) -> dict[str, Any]:
    """The changes to a status that end a run, written by somebody else than its worker."""
    words = {"reason_code": code, "reason_text": text, "ended_utc": utc_now()}
    return {"state": state, "paused": False, "activity": "", **words}
