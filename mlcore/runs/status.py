"""The small records of a run: what it was made of, its status, and what a person calls it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypedDict

from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeInt,
    SkipValidation,
    field_validator,
    model_validator,
)

from mlcore.runs.records import StatusMetrics, has_shape
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import SCHEMA, RunSpec

Purpose = Literal["run", "preview"]


class Loose(BaseModel):
    """Read from disk: fields of a later version are kept out of the way, never an error."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RunRecord(Loose):
    """spec.json: written once, never changed. `sha256` is the spec's digest."""

    schema_version: int = SCHEMA
    run_id: str
    created_utc: str
    purpose: Purpose = "run"
    parent: str | None = None
    nonce: str | None = None
    sha256: str
    versions: dict[str, str] = {}
    spec: RunSpec

    @model_validator(mode="before")
    @classmethod
    def name_old_class_rule(cls, record: object) -> object:
        """A run whose file names no rule for the classes it holds out was split by counting them."""
        if not isinstance(record, dict):
            return record
        spec = record.get("spec")
        dataset = spec.get("dataset") if isinstance(spec, dict) else None
        if not isinstance(spec, dict) or not isinstance(dataset, dict) or "class_rule" in dataset:
            return record
        return {**record, "spec": {**spec, "dataset": {**dataset, "class_rule": "count_classes"}}}


class Status(Loose):
    """status.json: one owner at a time (the supervisor before start and after exit, the worker between).

    `number` is the run's place among all that were ever queued here; 0 for a run of before there were numbers.
    """

    schema_version: int = SCHEMA
    run_id: str
    state: RunState
    attempt: NonNegativeInt = 1
    engine: str = ""
    host: str = ""
    pid: int | None = None
    pid_start: float | None = None
    boot_id: str = ""
    pid_space: str = ""
    step: NonNegativeInt = 0
    total_steps: NonNegativeInt = 0
    activity: str = ""
    paused: bool = False
    reason_code: str = ""
    reason_text: str = ""
    number: int = 0
    queued_utc: str | None = None
    started_utc: str | None = None
    updated_utc: str | None = None
    ended_utc: str | None = None
    seconds: FiniteFloat = 0.0
    metrics: SkipValidation[StatusMetrics] = {}
    seq: int = 0

    @field_validator("metrics")
    @classmethod
    def _has_shape(cls, metrics: StatusMetrics) -> StatusMetrics:
        if not has_shape(metrics, StatusMetrics):
            raise ValueError("the metrics are not what an evaluation of a run measures")
        return metrics


class StatusFields(TypedDict, total=False):
    """Fields of a status, but its state, that change together."""

    attempt: int
    engine: str
    host: str
    pid: int | None
    pid_start: float | None
    boot_id: str
    pid_space: str
    step: int
    total_steps: int
    activity: str
    paused: bool
    reason_code: str
    reason_text: str
    number: int
    queued_utc: str | None
    started_utc: str | None
    updated_utc: str | None
    ended_utc: str | None
    seconds: float
    metrics: StatusMetrics


class StatusChanges(StatusFields, total=False):
    """Fields of a status that change together."""

    state: RunState


class Label(Loose):
    """label.json: what a person calls the run and wrote about it; may change at any time.

    `started_together`: words that runs which were started together have in common.
    """

    name: str = ""
    note: str = ""
    started_together: str = ""


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
