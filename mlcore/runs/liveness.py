"""What a stored status is worth: a run whose process is gone is lost, also while nobody is there to write it down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from mlcore.disk.atomic import read_json
from mlcore.disk.process import boot_id, is_alive, is_here
from mlcore.runs.attempt import Attempt
from mlcore.runs.states import RunState
from mlcore.runs.status import Status, utc_now

FAR_SILENT_S = 40.0  # of a run of another machine; a shared disk may bring its heartbeat half a minute late
FAR_LOST_S = 120.0
LIFE = {"pid": int, "boot_id": str, "host": str}  # what a claim must say to be of use


class Owner(TypedDict):
    """The process that owns a run, as `identity` would name it; `pid` None for nobody."""

    pid: int | None
    pid_start: float | None
    boot_id: str
    pid_space: str
    host: str


class Ended(TypedDict):
    """The changes to a status that end a run."""

    state: RunState
    paused: bool
    activity: str
    reason_code: str
    reason_text: str
    ended_utc: str


def read_helper_status(root: Path, helper: str) -> dict[str, Any]:
    """What a background process (projector, supervisor) last said of itself, with `alive` added."""
    record = read_json(root / f".{helper}.json")
    record = record if isinstance(record, dict) else {}
    named = {"host": "", "boot_id": "", **record}
    return record | {"alive": is_here(named) and is_alive(named.get("pid"), named.get("pid_start"), named["boot_id"])}


def true_status(run: Path, stored: Status) -> Status:
    """The stored status, or what has become of the run if the process that it names is gone.

    While a supervisor lives it is left to that one, which knows better how its child ended. A process of another
    machine cannot be seen from here: what is known of it is whether its heart beats.
    """
    if stored.state.finished or stored.state == RunState.DRAFT:
        return stored
    named = read_claimant(run, stored.attempt) if stored.state == RunState.QUEUED else process_in_status(stored)
    if named is None or named["pid"] is None or not is_here(named):
        return stored
    if (
        is_alive(named["pid"], named["pid_start"], named["boot_id"])
        or read_helper_status(run.parent, "supervisor")["alive"]
    ):
        return stored
    return stored.model_copy(update={**unseen_end(named["boot_id"])})


def process_in_status(stored: Status) -> Owner:
    """The process that a status names, as `identity` would."""
    return {
        "pid": stored.pid,
        "pid_start": stored.pid_start,
        "boot_id": stored.boot_id,
        "pid_space": stored.pid_space,
        "host": stored.host,
    }


def read_claimant(run: Path, attempt: int) -> Owner | None:
    """The process that has made this attempt its own; None if nobody has, or it does not say who."""
    record = read_json(run / "attempts" / f"{attempt:03d}" / "claim.json")
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in LIFE.items()):
        return None
    started, space = record.get("pid_start"), record.get("pid_space")
    return {
        "pid": record["pid"],
        "pid_start": started if isinstance(started, int | float) else None,
        "boot_id": record["boot_id"],
        "pid_space": space if isinstance(space, str) else "",
        "host": record["host"],
    }


def machine_elsewhere(run: Path, stored: Status) -> str:
    """The other machine (or container) on which a run goes on or was begun, by name; "" if it is this one or none."""
    if stored.state.finished or stored.state == RunState.DRAFT:
        return ""
    named = read_claimant(run, stored.attempt) if stored.state == RunState.QUEUED else process_in_status(stored)
    return "" if named is None or is_here(named) else named["host"] or "unknown"


def signs_of_life(run: Path, stored: Status) -> tuple[int, int]:
    """What changes while a run goes on, wherever: its heartbeat, and how often its status was written."""
    return Attempt(run / "attempts" / f"{stored.attempt:03d}").beat(), stored.seq


def unseen_end(boot: str) -> Ended:
    """The changes to the status of a run whose process is gone and left no word."""
    code, text = "worker_gone", "The worker process is gone and left no word. It can be resumed."
    if boot not in ("", boot_id()):
        code, text = "machine_restarted", "The machine was restarted while the run was going on. It can be resumed."
    return ending_changes(RunState.LOST, code, text)


def unheard_end(machine: str, silent_s: float) -> Ended:
    """The changes to the status of a run of another machine that is silent."""
    text = (
        f"It was going on on another machine, {machine}; nothing was heard of it for {silent_s:.0f} s. "
        "It can be resumed here."
    )
    return ending_changes(RunState.LOST, "unheard", text)


def ending_changes(state: RunState, code: str, text: str) -> Ended:
    """The changes to a status that end a run now."""
    return {
        "state": state,
        "paused": False,
        "activity": "",
        "reason_code": code,
        "reason_text": text,
        "ended_utc": utc_now(),
    }
