"""The states of a run, and which may follow which. States only move forward; a resumed run is a new attempt."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    LOST = "lost"

    @property
    def finished(self) -> bool:
        return self in FINISHED

    @property
    def resumable(self) -> bool:
        return self in (RunState.CANCELLED, RunState.FAILED, RunState.LOST)


FINISHED = frozenset({RunState.DONE, RunState.CANCELLED, RunState.FAILED, RunState.LOST})

MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.DRAFT: frozenset({RunState.QUEUED, RunState.STARTING, RunState.CANCELLED}),
    RunState.QUEUED: frozenset({RunState.STARTING, RunState.CANCELLED, RunState.FAILED, RunState.LOST}),
    RunState.STARTING: frozenset({RunState.RUNNING, RunState.CANCELLING, *FINISHED}),
    RunState.RUNNING: frozenset({RunState.CANCELLING, *FINISHED}),
    RunState.CANCELLING: FINISHED,
    RunState.DONE: frozenset(),
    RunState.CANCELLED: frozenset({RunState.QUEUED, RunState.STARTING}),
    RunState.FAILED: frozenset({RunState.QUEUED, RunState.STARTING}),
    RunState.LOST: frozenset({RunState.QUEUED, RunState.STARTING}),
}


def may_move(before: RunState, after: RunState, *, next_attempt: bool) -> bool:
    """Whether a run may go from one state to another; a finished run goes on only as its next attempt."""
    if before == after:
        return not next_attempt
    if before.finished:
        return next_attempt and after in MOVES[before]
    return not next_attempt and after in MOVES[before]
