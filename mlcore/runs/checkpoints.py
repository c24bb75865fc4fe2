"""What a run has kept of its model, and whether it can teach another run."""

from __future__ import annotations

import contextlib

from mlcore.runs.folder import RunFolder, RunNotFound, Runs
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import TeacherChoice


def last_checkpoint(run: RunFolder) -> bytes:
    """The newest checkpoint of a run whose bytes are whole, from any of its attempts."""
    for attempt in reversed(run.attempts()):
        for entry in reversed(attempt.checkpoints()):
            with contextlib.suppress(ValueError):
                return attempt.read_bytes(entry)
    raise no_checkpoint(run)


def last_sha256(run: RunFolder) -> str:
    """The sha256 of a run's newest checkpoint as it was written."""
    for attempt in reversed(run.attempts()):
        for entry in reversed(attempt.checkpoints()):
            return entry["sha256"]
    raise no_checkpoint(run)


def no_checkpoint(run: RunFolder) -> ValueError:
    return ValueError(
        f"{run.title()} has no checkpoint yet: it is {run.state} at step {run.status().step} of "
        f"{run.spec.budget.steps}. A run keeps one when it is evaluated after its first steps, and at its end."
    )


def with_teacher(spec: RunSpec, runs: Runs) -> RunSpec:
    """The spec with the whole id of the run that teaches, if one does, and the sha256 of what it teaches.

    Raises: ValueError if there is no such run, or it cannot teach.
    """
    if spec.teacher is None or not spec.teacher.run:
        return spec
    run = teacher_run(spec.teacher, runs)
    own, other = spec.dataset, run.spec.dataset
    if (own.key, own.params) != (other.key, other.params) or len({own.fingerprint, other.fingerprint, ""}) > 2:
        raise ValueError(
            f"teacher: {run.title()} was trained on other images, {other.title()}; this run trains on {own.title()}. "
            "Choose a run on the same ones."
        )
    found = last_sha256(run)
    check_unchanged(spec.teacher, run, found)
    return spec.changed({"teacher.run": run.run_id, "teacher.sha256": found})


def teacher_run(choice: TeacherChoice, runs: Runs) -> RunFolder:
    """The run that teaches. Raises: ValueError if it is not here or not finished."""
    try:
        run = runs.find(choice.run)
    except RunNotFound:
        raise ValueError(
            f"The teacher, run {choice.run[:40]}, is not in {runs.root}. If it was deleted, restore it, or choose "
            "another teacher."
        ) from None
    if not run.state.finished:
        raise ValueError(f"The teacher, {run.title()}, is {run.state}. Wait for its end, or choose another teacher.")
    return run


def check_unchanged(choice: TeacherChoice, run: RunFolder, sha256: str) -> None:
    """Raises: ValueError if the checkpoint that teaches is not the one that the choice names."""
    if choice.sha256 not in ("", sha256):
        raise ValueError(
            f"The teacher, {run.title()}, has been trained on since this run was made. Duplicate this run to learn "
            "from the teacher as it is now."
        )
