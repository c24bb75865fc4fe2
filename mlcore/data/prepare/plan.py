"""A preparation as a list of steps: each says what it would do before it is done, and undo is one step fewer."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mlcore.data.prepare.steps import STEPS, AnyStep, Effect
from mlcore.declare import nearest_word
from mlcore.disk.plain_yaml import plain_yaml

MAX_STEPS = 50


class Plan(BaseModel):
    """Steps in the order they are done. The index that they start from is never changed.

    Raises ValueError (pydantic's) for an unknown step, name or value; `Plan.read` says each fault in a sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: Annotated[tuple[AnyStep, ...], Field(max_length=MAX_STEPS)] = ()

    @classmethod
    def read(cls, record: object) -> Plan:
        """A plan from a plain record; ValueError with one sentence for each fault."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            raise ValueError("\n".join(plan_fault(fault) for fault in error.errors())) from None

    @classmethod
    def from_text(cls, text: str) -> Plan:
        """A plan from YAML or JSON text, as `to_yaml` and `model_dump_json` write it."""
        return cls.read(plain_yaml(text))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def with_steps(self, *steps: AnyStep) -> Plan:
        """This plan with steps added at its end."""
        return Plan(steps=(*self.steps, *steps))

    def without_last_step(self) -> Plan:
        """This plan without its last step; an empty one stays empty."""
        return Plan(steps=self.steps[:-1])

    def apply(self, index: pd.DataFrame) -> tuple[pd.DataFrame, list[Effect]]:
        """The index after all steps and each step's effect.

        Raises: ValueError naming the step that cannot be done.
        """
        effects = []
        for number, step in enumerate(self.steps, 1):
            try:
                index, effect = step.apply_to(index)
            except ValueError as error:
                raise ValueError(f"step {number} ({step.title}): {error}") from None
            effects.append(effect)
        return index, effects

    def effects(self, index: pd.DataFrame) -> list[Effect]:
        """What each step would do, without doing it."""
        return self.apply(index)[1]


def plan_fault(fault: ErrorDetails) -> str:
    """pydantic's fault as a sentence: which step, which setting, and the nearest known name."""
    place = list(fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if place[:1] != ["steps"]:
        wrong = str(place[0]) if place else ""
        return f"A plan has one entry, steps; there is no '{wrong}'." if wrong else f"A plan: {message}."
    if len(place) == 1:
        return f"steps: {message}; got {fault['input']!r}." if fault["type"] != "too_long" else f"steps: {message}."
    where, step = f"step {int(place[1]) + 1}", str(place[2]) if len(place) > 2 else ""
    if fault["type"] == "union_tag_invalid":
        tag = fault["ctx"]["tag"]
        return f"{where}: there is no step '{tag}'.{nearest_word(tag, STEPS)}"
    if fault["type"] == "union_tag_not_found":
        return f"{where}: it must say which 'step' it is. Known: {', '.join(STEPS)}."
    known = [name for name in STEPS[step].model_fields if name != "step"] if step else []
    name = ".".join(map(str, place[3:]))
    if fault["type"] == "extra_forbidden":
        return f"{where} ({step}): there is no '{name}'.{nearest_word(name, known)}"
    if fault["type"] == "missing":
        return f"{where} ({step}): it needs '{name}'."
    if not name:
        return f"{where}: {message}"
    return f"{where} ({step}): {name}: {message[0].lower()}{message[1:]}; got {fault['input']!r}."
