"""What a training run says while it goes on: small frozen records, yielded by the loop."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcore.margins import LineRecord


@dataclass(frozen=True)
class Event:
    """`kind` names the event in a run's file; steps count finished optimizer steps, so step 0 is before training."""

    kind = "event"
    step: int

    def record(self) -> dict[str, object]:
        """Plain JSON values; a number that is not finite becomes null and its name is listed in `nonfinite`."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        lost = sorted(name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value))
        clean = {name: None if name in lost else value for name, value in values.items()}
        return {"kind": self.kind, **clean, **({"nonfinite": lost} if lost else {})}


@dataclass(frozen=True)
class Started(Event):
    """`input`: what is done to the images before the backbone sees them, in a sentence; "" for nothing."""

    kind = "started"
    from_step: int
    total_steps: int
    train_images: int
    held_out_images: int
    train_classes: int
    held_out_classes: int
    parameters: int
    trainable: int
    device: str
    threads: int
    fingerprint: str
    coverage: dict[str, int]
    input: str = ""


@dataclass(frozen=True)
class Progress(Event):
    """Work before the first step that a person should see: `done` of `total`."""

    kind = "progress"
    text: str
    done: int
    total: int


@dataclass(frozen=True)
class StepDone(Event):
    """`images_per_s` and `seconds_left` from a moving average; `tuples` None without a miner.

    `parts`: the finite shares of the loss by name, where the training method adds several.
    """

    kind = "step"
    epoch: int
    loss: float
    grad_norm: float
    learning_rates: dict[str, float]
    images_per_s: float
    memory_mb: float
    seconds_left: float
    tuples: int | None
    parts: dict[str, float]


@dataclass(frozen=True)
class SnapshotTaken(Event):
    """The watched sample as the model of this step sees it. Arrays: see `Evaluator.evaluate`."""

    kind = "snapshot"
    arrays: dict[str, np.ndarray] = field(repr=False)

    def record(self) -> dict[str, object]:
        return {"kind": self.kind, "step": self.step}


@dataclass(frozen=True)
class Evaluated(Event):
    """Metrics on the whole held-out and training splits; `backbone`: without a head, before training."""

    kind = "evaluated"
    seconds: float
    held_out: dict[str, float | int | None]
    train: dict[str, float | int | None]
    backbone: dict[str, float | int | None] | None
    angles: dict[str, Any]
    margin_lines: list[LineRecord]


@dataclass(frozen=True)
class Checkpoint(Event):
    kind = "checkpoint"
    data: bytes = field(repr=False)

    def record(self) -> dict[str, object]:
        return {"kind": self.kind, "step": self.step}


@dataclass(frozen=True)
class Warned(Event):
    """`code`: "before" for what was known before the first step, "idle" where steps teach nothing, else ""."""

    kind = "warning"
    text: str
    code: str = ""


@dataclass(frozen=True)
class Finished(Event):
    """`reason`: completed, stopped (asked to), or time_up."""

    kind = "finished"
    reason: str
    seconds: float


class TrainingFault(Exception):
    """Training cannot go on. `code` is stable, the text says what happened and what to try."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
