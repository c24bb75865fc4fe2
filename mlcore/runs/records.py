"""The shape of every record in a run's files, checked when it is read: who draws a record need not doubt it.

A record that is not of its shape (a damaged disk, an edited file, another version) is left out by its reader, and
counted. Fields that a later version adds are let through.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = int | FiniteFloat
Figures = dict[str, Number | None]


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


class AnglesOfBoth(TypedDict):
    held_out: Angles
    train: Angles


class Line(TypedDict):
    text: str
    between: Literal["proxies", "pairs"]
    kind: Literal["fixed", "angle", "cosine", "distance"]
    value: FiniteFloat


class Started(TypedDict):
    step: Count
    from_step: Count
    fingerprint: NotRequired[str]
    input: NotRequired[str]
    coverage: NotRequired[dict[str, Count]]


class Step(TypedDict):
    step: Count
    loss: Number | None
    grad_norm: Number | None
    learning_rates: Figures
    images_per_s: Number | None
    memory_mb: Number | None
    seconds_left: Number | None
    tuples: Count | None
    parts: NotRequired[Figures]


class Evaluated(TypedDict):
    step: Count
    held_out: Figures
    train: Figures
    backbone: NotRequired[Figures | None]
    angles: AnglesOfBoth
    margin_lines: NotRequired[list[Line]]


class Progress(TypedDict):
    step: Count
    text: str


class Message(TypedDict):
    step: Count
    text: str


class Told(TypedDict):
    step: Count


class StoredFile(TypedDict):
    step: Count
    file: str
    sha256: str


class Removed(TypedDict):
    file: str


class Layout(TypedDict):
    """One of a file with its faithfulness, the faithfulness alone, or the reason why there is none."""

    step: Count
    method: str
    file: NotRequired[str]
    sha256: NotRequired[str]
    faith: NotRequired[Figures]
    failed: NotRequired[str]


class Metrics(TypedDict):
    """Of status.json: the last look, the backbone alone before training, and a thinned curve of [step, MAP@R]."""

    held_out: NotRequired[Figures]
    train: NotRequired[Figures]
    no_training: NotRequired[Figures]
    curve: NotRequired[list[Annotated[list[Number | None], Field(min_length=2, max_length=2)]]]


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
    params: NotRequired[dict[str, Any]]


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


EVENTS = {
    "started": Started,
    "step": Step,
    "evaluated": Evaluated,
    "progress": Progress,
    "warning": Message,
    "error": Message,
    "log": Message,
}
FILES = {"began": Told, "snapshot": StoredFile, "checkpoint": StoredFile}
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def has_shape(record: Any, shape: Any) -> bool:
    """Whether a record read from JSON is of a shape above, to the letter: no text is taken for a number."""
    if shape not in _ADAPTERS:
        _ADAPTERS[shape] = TypeAdapter(shape)
    try:
        _ADAPTERS[shape].validate_python(record, strict=True)
    except ValidationError:
        return False
    return True


def is_event(record: dict[str, Any]) -> bool:
    """Whether an event is whole; one of a kind that nothing reads need only say its step."""
    kind = record.get("kind")
    return isinstance(kind, str) and has_shape(record, EVENTS.get(kind, Told))


def is_file_entry(record: dict[str, Any]) -> bool:
    """Whether a line of an attempt's manifest is whole."""
    if "removed" in record:
        return has_shape(record, Removed)
    kind = record.get("kind")
    return isinstance(kind, str) and (kind not in FILES or has_shape(record, FILES[kind]))


def is_layout_entry(record: dict[str, Any]) -> bool:
    """Whether a line of the projector's manifest is whole."""
    if not has_shape(record, Layout):
        return False
    told = {"file", "sha256", "faith", "failed"} & record.keys()
    return told in ({"failed"}, {"faith"}, {"file", "sha256", "faith"})
