"""The shape of every record in a run's files, checked when it is read: who draws a record need not doubt it.

Events are written by `training/events.py`, a class for each of the records here, and read by `History`. A record that
is not of its shape (a damaged disk, an edited file, another version) is left out by its reader, and
counted. Fields that a later version adds are let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired, TypeGuard, TypeVar

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from mlcore.margins import AngleKind, MarginKind

Shape = TypeVar("Shape")
Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = int | FiniteFloat
NamedNumbers = dict[str, Number | None]
CurvePoint = list[Number | None]


class Histogram(TypedDict):
    counts: list[Number]
    median: FiniteFloat


class Angles(TypedDict):
    bins: Count
    samples: Count
    of: Count
    positive_pairs: NotRequired[Histogram | None]
    negative_pairs: NotRequired[Histogram | None]
    own_proxy: NotRequired[Histogram | None]
    nearest_other_proxy: NotRequired[Histogram | None]


SideName = Literal["held_out", "train"]
SIDES: tuple[SideName, ...] = ("held_out", "train")


class AnglesOfBoth(TypedDict):
    held_out: Angles
    train: Angles


class MarginLineRecord(TypedDict):
    text: str
    between: AngleKind
    kind: MarginKind
    value: FiniteFloat


class StartedRecord(TypedDict):
    kind: Literal["started"]
    step: Count
    from_step: Count
    total_steps: NotRequired[Count]
    train_images: NotRequired[Count]
    held_out_images: NotRequired[Count]
    train_classes: NotRequired[Count]
    held_out_classes: NotRequired[Count]
    parameters: NotRequired[Count]
    trainable: NotRequired[Count]
    device: NotRequired[str]
    threads: NotRequired[Count]
    fingerprint: NotRequired[str]
    coverage: NotRequired[dict[str, Count]]
    input: NotRequired[str]


class StepRecord(TypedDict):
    kind: Literal["step"]
    step: Count
    epoch: NotRequired[Count]
    loss: Number | None
    grad_norm: Number | None
    learning_rates: NamedNumbers
    images_per_s: Number | None
    memory_mb: Number | None
    seconds_left: Number | None
    tuples: Count | None
    parts: NotRequired[NamedNumbers]


class EvaluatedRecord(TypedDict):
    kind: Literal["evaluated"]
    step: Count
    seconds: NotRequired[Number | None]
    held_out: NamedNumbers
    train: NamedNumbers
    backbone: NotRequired[NamedNumbers | None]
    angles: AnglesOfBoth
    margin_lines: NotRequired[list[MarginLineRecord]]


class ProgressRecord(TypedDict):
    kind: Literal["progress"]
    step: Count
    text: str
    done: NotRequired[Count]
    total: NotRequired[Count]


class MessageRecord(TypedDict):
    kind: Literal["warning", "error", "log"]
    step: Count
    text: str
    code: NotRequired[str]


class OtherRecord(TypedDict):
    """An event of a kind that nothing reads back need only say its step."""

    step: Count


class StoredFile(TypedDict):
    step: Count
    file: str
    sha256: str


class RemovedFile(TypedDict):
    file: str


class FileEntry(TypedDict, total=False):
    """A line of an attempt's manifest: a StoredFile, a RemovedFile, or the step from which the attempt goes on."""

    kind: str
    step: Count
    file: str
    sha256: str
    removed: bool


class LayoutEntry(TypedDict):
    """One of a file with its faithfulness, the faithfulness alone, or the reason why there is none."""

    step: Count
    method: str
    file: NotRequired[str]
    sha256: NotRequired[str]
    faith: NotRequired[NamedNumbers]
    failed: NotRequired[str]


class StatusMetrics(TypedDict):
    """Of status.json: the last evaluation, the backbone's own features, and a thinned curve of [step, MAP@R]."""

    step: NotRequired[Count]
    held_out: NotRequired[NamedNumbers]
    train: NotRequired[NamedNumbers]
    no_training: NotRequired[NamedNumbers]
    curve: NotRequired[list[Annotated[CurvePoint, Field(min_length=2, max_length=2)]]]


class Atlas(TypedDict):
    mime: str
    tile: Annotated[int, Field(gt=0, le=4096)]
    columns: Annotated[int, Field(gt=0, le=4096)]
    count: Count
    key: str


class WatchNames(TypedDict):
    dataset: str
    total: Count
    class_names: list[str]
    image_names: list[str]


class Part(TypedDict):
    key: str
    params: NotRequired[dict[str, object]]


class SpecParts(TypedDict):
    """Of a spec, whatever its version: what it is called and what it is made of."""

    name: NotRequired[str]
    dataset: Part
    backbone: Part
    loss: Part


class BirthParts(TypedDict):
    """Of spec.json, whatever its version."""

    created_utc: str
    purpose: NotRequired[str]
    spec: SpecParts


EventRecord = StartedRecord | StepRecord | EvaluatedRecord | ProgressRecord | MessageRecord
MESSAGES = ("warning", "error", "log")
EVENTS = {
    "started": StartedRecord,
    "step": StepRecord,
    "evaluated": EvaluatedRecord,
    "progress": ProgressRecord,
    **dict.fromkeys(MESSAGES, MessageRecord),
}
FILES = {"began": OtherRecord, "snapshot": StoredFile, "checkpoint": StoredFile}
_ADAPTERS: dict[type, TypeAdapter[object]] = {}


def has_shape(record: object, shape: type[Shape]) -> TypeGuard[Shape]:
    """Whether a record read from JSON is of a shape above, to the letter: no text is taken for a number."""
    if shape not in _ADAPTERS:
        _ADAPTERS[shape] = TypeAdapter(shape)
    try:
        _ADAPTERS[shape].validate_python(record, strict=True)
    except ValidationError:
        return False
    return True


def is_event(record: Mapping[str, object]) -> TypeGuard[EventRecord]:
    """Whether an event is whole; one of a kind that nothing reads need only say its step."""
    kind = record.get("kind")
    return isinstance(kind, str) and has_shape(record, EVENTS.get(kind, OtherRecord))


def is_file_entry(record: Mapping[str, object]) -> TypeGuard[FileEntry]:
    """Whether a line of an attempt's manifest is whole."""
    if "removed" in record:
        return has_shape(record, RemovedFile)
    kind = record.get("kind")
    return isinstance(kind, str) and (kind not in FILES or has_shape(record, FILES[kind]))


def is_layout_entry(record: Mapping[str, object]) -> TypeGuard[LayoutEntry]:
    """Whether a line of the projector's manifest is whole."""
    if not has_shape(record, LayoutEntry):
        return False
    told = {"file", "sha256", "faith", "failed"} & record.keys()
    return told in ({"failed"}, {"faith"}, {"file", "sha256", "faith"})
