"""Dotted settings such as 'loss.margin' applied to a plain record, and faults of a record in plain sentences."""

from __future__ import annotations

import json
from typing import Any, get_args

from pydantic import BaseModel

from mlcore.catalogue import parts
from mlcore.declare import nearest_word
from mlcore.runs.choices import BackboneChoice, HeadChoice, OptimizerChoice
from mlcore.runs.fitting import (
    FOLLOW_BACKBONE,
    OPTIONAL,
    PART_ROOMS,
    VECTORS,
    usual_augment,
    usual_key,
    with_fitting_defaults,
)


def apply_settings(model: type[BaseModel], record: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """A `model`'s record with dotted settings applied; a part's knob is reached as 'loss.margin'."""
    changed = json.loads(json.dumps(record))
    forget_what_follows(changed, settings)
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
        fields = getattr(model_of(model.model_fields[section].annotation), "model_fields", None)
        if fields is None:
            raise ValueError(f"There is no setting '{path}': {section} has no parts. Write {section}={value!r}.")
        choice = changed[section] = changed.get(section) or {}
        if name in fields:
            choice[name] = value
        elif section in PART_ROOMS or "params" in fields:
            choice["params"] = {**(choice.get("params") or {}), name: value}
        else:
            raise ValueError(f"There is no setting '{path}'.{nearest_word(name, fields)}")
    take_fitting_head(changed, settings)
    return changed


def model_of(hint: Any) -> Any:
    """A field's type without the None of an optional one."""
    models = [option for option in get_args(hint) if hasattr(option, "model_fields")]
    return models[0] if models else hint


def forget_what_follows(record: dict[str, Any], settings: dict[str, Any]) -> None:
    """Where a loss or a backbone is exchanged, what was usual for the one before makes room for what is usual now."""
    named = {path.split(".")[0] for path in settings}
    sampler = record.get("sampler", {})
    exchanged = {"loss", "method"} & set(settings)
    if exchanged and "sampler" not in named and sampler.get("key") == usual_key("sampler", record):
        record["sampler"] = {name: value for name, value in sampler.items() if name not in ("key", "params")}
    if "method" in settings and record.get("augment", {}).get("key") == usual_augment(record["method"]["key"]):
        del record["augment"]
    if "dataset" in settings and "backbone" not in settings:
        take_fitting_backbone(record, settings["dataset"])
    if not {"backbone", "backbone.pretrained"}.isdisjoint(settings):
        forget_what_follows_the_backbone(record)
    if "teacher.run" in settings and record.get("teacher"):
        record["teacher"].pop("sha256", None)


def forget_what_follows_the_backbone(record: dict[str, Any]) -> None:
    """Drops those of FOLLOW_BACKBONE that have the values that are usual with the present backbone."""
    backbone = record.get("backbone", {})
    for path, value in usual_with_backbone(backbone.get("key", ""), backbone.get("params", {})).items():
        section, _, name = path.partition(".")
        if isinstance(record.get(section), dict) and record[section].get(name) == value:
            del record[section][name]


def usual_with_backbone(key: str, params: dict[str, Any]) -> dict[str, Any]:
    """The dotted settings that follow from a backbone, with their usual values."""
    filled = with_fitting_defaults({"backbone": {"key": key, "params": params}})
    sections = {"backbone": BackboneChoice(), "head": HeadChoice(), "optimizer": OptimizerChoice()}
    return {
        f"{section}.{name}": filled.get(section, {}).get(name, getattr(sections[section], name))
        for section, names in FOLLOW_BACKBONE.items()
        for name in names
    }


def take_fitting_head(record: dict[str, Any], settings: dict[str, Any]) -> None:
    """A size that is asked for makes a linear head of a residual one; a linear head begins where it keeps most."""
    head = record.get("head")
    if not isinstance(head, dict):
        return
    if "head.embedding_size" in settings and "head.kind" not in settings and head.get("kind") == "residual":
        head |= {"kind": "linear", "start": "components"}
    elif "head.kind" in settings and "head.start" not in settings:
        knows = head.get("kind") == "linear" and begins_with_knowledge(record["backbone"])
        head["start"] = "components" if knows else "random"


def begins_with_knowledge(backbone: dict[str, Any] | str) -> bool:
    """Whether a backbone is pretrained, or the vectors of a set as they are."""
    choice = {"key": backbone} if isinstance(backbone, str) else backbone
    key = choice.get("key", "")
    if key == VECTORS or key not in parts("backbones"):
        return key == VECTORS
    return (parts("backbones")[key].defaults() | (choice.get("params") or {})).get("pretrained") is True


def take_fitting_backbone(record: dict[str, Any], dataset: Any) -> None:
    """Between images and vectors the backbone that was usual is left out, so that what is usual now is taken."""
    before, now = (usual_key("backbone", {"dataset": choice}) for choice in (record.get("dataset"), dataset))
    there = record.get("backbone", {}).get("key", "")
    if before == now or there != (VECTORS if before == VECTORS else BackboneChoice().key):
        return
    forget_what_follows(record, {"backbone": now})
    del record["backbone"]


def kept_fields(section: str, record: dict[str, Any]) -> dict[str, Any]:
    """What stays when a part is exchanged for another: everything but its key and its knobs."""
    dropped = {"key", "params", "fingerprint"}
    return {name: value for name, value in (record.get(section) or {}).items() if name not in dropped}


def fault_sentence(model: type[BaseModel], fault: Any) -> str:
    """pydantic's fault as one sentence with the place, the value and, for an unknown name, the nearest."""
    place = ".".join(str(step) for step in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known: Any = model
        for step in fault["loc"][:-1]:
            known = model_of(known.model_fields[step].annotation)
        return f"There is no setting '{place}'.{nearest_word(str(fault['loc'][-1]), known.model_fields)}"
    if not place:
        return message
    return f"{place}: {message[0].lower()}{message[1:]}; got {fault['input']!r}."
