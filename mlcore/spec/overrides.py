"""Dotted settings such as 'loss.margin' applied to a plain record, and faults of a record in plain sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mlcore.catalogue import registry
from mlcore.declare import nearest_word
from mlcore.spec.defaults import OPTIONAL, PART_ROOMS, Settings

NOT_SETTINGS = ("dataset.fingerprint", "teacher.sha256")  # what a run notes of its data and its teacher


def flatten_record(record: Mapping[str, object]) -> dict[str, object]:
    """Every setting of a whole record under its dotted name; a part's own name is its key."""
    flat: dict[str, object] = {}
    for section, choice in record.items():
        if not isinstance(choice, dict):  # a plain value, or None for a part that is left out
            flat[section] = choice
            continue
        if section in PART_ROOMS:
            flat[section] = choice["key"]
        flat |= {f"{section}.{name}": value for name, value in choice.items() if name not in ("key", "params")}
        flat |= {f"{section}.{name}": value for name, value in choice.get("params", {}).items()}
    return flat


def apply_settings(model: type[BaseModel], record: Mapping[str, object], settings: Settings) -> dict[str, object]:
    """A `model`'s record with dotted settings applied; a part's knob is reached as 'loss.margin'."""
    changed = json.loads(json.dumps(record))
    ordered = sorted(settings.items(), key=lambda item: item[0].count("."))
    for path, value in ordered:
        section, _, name = path.partition(".")
        if section not in model.model_fields:
            raise ValueError(f"There is no setting '{path}'.{nearest_word(section, model.model_fields)}")
        if not name:
            left_out = value is None and section in OPTIONAL
            if value is None and section in PART_ROOMS and not left_out:
                raise ValueError(f"{section} must be named; got null. Leave the setting out to keep it as it is.")
            exchanged = section in PART_ROOMS and not isinstance(value, dict) and not left_out
            changed[section] = {"key": value} | kept_fields(section, changed) if exchanged else value
            continue
        fields = fields_of(model.model_fields[section].annotation)
        if fields is None:
            raise ValueError(f"There is no setting '{path}': {section} has no parts. Write {section}={value!r}.")
        choice = changed[section] = changed.get(section) or {}
        if name in fields:
            choice[name] = value
        elif section in PART_ROOMS or "params" in fields:
            choice["params"] = {**(choice.get("params") or {}), name: value}
        else:
            raise ValueError(f"There is no setting '{path}'.{nearest_word(name, fields)}")
    return changed


def with_declared_defaults(model: type[BaseModel], record: Mapping[str, Any]) -> dict[str, Any]:
    """A `model`'s record in which every section and every known part has all its fields; nothing is checked."""
    filled: dict[str, Any] = dict(record)
    for section, field in model.model_fields.items():
        choice = filled.get(section)
        if not isinstance(choice, dict):
            continue
        fields = fields_of(field.annotation) or {}
        defaults = {name: known.get_default() for name, known in fields.items() if not known.is_required()}
        filled[section] = {**defaults, **choice}
        room = registry(PART_ROOMS[section]) if section in PART_ROOMS else {}
        if choice.get("key") in room:
            filled[section]["params"] = room[choice["key"]].defaults() | (choice.get("params") or {})
    return filled


def fields_of(hint: object) -> Mapping[str, FieldInfo] | None:
    """The fields of a field's type, without the None of an optional one; None for a plain value."""
    for option in (*get_args(hint), hint):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option.model_fields
    return None


def kept_fields(section: str, record: Mapping[str, Any]) -> dict[str, object]:
    """What stays when a part is exchanged for another: everything but its key and its knobs."""
    dropped = {"key", "params", "fingerprint"}
    return {name: value for name, value in (record.get(section) or {}).items() if name not in dropped}


def fault_sentence(model: type[BaseModel], fault: ErrorDetails) -> str:
    """pydantic's fault as one sentence with the place, the value and, for an unknown name, the nearest."""
    place = ".".join(str(step) for step in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known: Mapping[str, FieldInfo] = model.model_fields
        for step in fault["loc"][:-1]:
            known = fields_of(known[str(step)].annotation) or {}
        return f"There is no setting '{place}'.{nearest_word(str(fault['loc'][-1]), known)}"
    if not place:
        return message
    if fault["type"] == "value_error":  # a whole sentence of our own
        return f"{place}: {message}"
    return f"{place}: {message[0].lower()}{message[1:]}; got {fault['input']!r}."
