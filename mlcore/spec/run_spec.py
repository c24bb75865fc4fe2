"""RunSpec: everything needed to do a run again. The app, the command line and a notebook all make this one record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from mlcore.catalogue import registry
from mlcore.disk.plain_yaml import plain_yaml
from mlcore.spec.compatibility import check_together
from mlcore.spec.defaults import OPTIONAL, PART_ROOMS, Settings, follow, usual_key, with_fitting_defaults
from mlcore.spec.overrides import NOT_SETTINGS, apply_settings, fault_sentence, flatten_record, with_declared_defaults
from mlcore.spec.sections import RunSections

SCHEMA = 1


class RunSpec(RunSections):
    """One training run.

    A part that may be left out is None: no distance or reducer is the loss's own, no wrapper the loss as it is,
    no teacher labels alone.

    Raises ValueError (pydantic's, with every fault listed) for unknown names, values outside their range, or a
    part that does not exist; `RunSpec.read` turns it into one sentence a fault.
    """

    @model_validator(mode="before")
    @classmethod
    def complete_parts(cls, record: object) -> object:
        """Check each part's key and values against its declaration and fill in the defaults."""
        if not isinstance(record, dict):
            return record
        filled: dict[str, Any] = dict(record)
        for section, room in PART_ROOMS.items():
            choice = filled.get(section, None if section in OPTIONAL else {})
            if choice is None and section in OPTIONAL:
                filled[section] = None
                continue
            if isinstance(choice, str):
                choice = {"key": choice}
            if isinstance(choice, BaseModel):
                choice = choice.model_dump()
            if not isinstance(choice, dict):
                raise ValueError(f"{section} must be a name, or a record with 'key' and 'params'; got {choice!r}")
            usual = cls.model_fields[section].default
            key = choice.get("key") or usual_key(section, filled, usual)
            if key is None:
                raise ValueError(
                    f"{section} is not chosen yet: name one with 'key'. Known: {', '.join(registry(room))}."
                )
            given = choice.get("params") or {}
            if not isinstance(given, dict):
                raise ValueError(f"{section}.params must be a record of values; got {given!r}")
            if section == "dataset" and (own := own_images(str(key), given)):
                filled[section] = {**choice, "key": own, "params": {}}
                continue
            spec = registry(room)[str(key)]
            filled[section] = {**choice, "key": spec.key, "params": spec.check(given)}
        return with_fitting_defaults(filled)

    @model_validator(mode="after")
    def check_parts(self) -> Self:
        check_together(self)
        return self

    @classmethod
    def read(cls, record: object) -> RunSpec:
        """A spec from a plain record; ValueError with one plain sentence for each fault."""
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            raise ValueError("\n".join(fault_sentence(cls, fault) for fault in error.errors())) from None

    @classmethod
    def from_text(cls, text: str) -> RunSpec:
        """A spec from YAML or JSON text (at most 256 KiB, no aliases, no tags)."""
        return cls.read(plain_yaml(text))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def digest(self) -> str:
        """sha256 of the canonical JSON, name left out: two runs with one digest are the same experiment."""
        canonical = json.dumps(self.model_dump(mode="json", exclude={"name"}), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def changed(self, settings: Settings) -> RunSpec:
        """A copy with dotted settings changed ('loss.margin', 'optimizer.head_lr', 'loss' ...), and what follows."""
        record = self.model_dump(mode="json")
        return RunSpec.read(apply_settings(RunSpec, record, {**follow(flatten_record(record), settings), **settings}))

    def settings(self) -> dict[str, object]:
        """Every setting that a person may choose, by its dotted name; a part's own name is its key."""
        return chosen_settings(self.model_dump(mode="json"))

    def settings_with(self, settings: Settings) -> dict[str, object]:
        """What `changed(settings).settings()` gives, but nothing is checked: they need not make a run yet.

        Raises: ValueError for a setting that there is not.
        """
        record = self.model_dump(mode="json")
        changed = apply_settings(RunSpec, record, {**follow(flatten_record(record), settings), **settings})
        return chosen_settings(with_declared_defaults(RunSpec, changed))

    def title(self) -> str:
        """The run's name, or one made from its parts."""
        return self.name or f"{registry('losses')[self.loss.key].title} on {self.dataset.title()}"


def chosen_settings(record: dict[str, Any]) -> dict[str, Any]:
    """The dotted settings of a whole record that a person may choose."""
    return {name: value for name, value in flatten_record(record).items() if name not in NOT_SETTINGS}


def own_images(key: str, params: Mapping[str, object]) -> str | None:
    """The id of an imported set or the absolute path that a data set's key means, if it is no declared one."""
    if key in registry("datasets"):
        return None
    from mlcore.data.store import own_key

    own = own_key(key)
    if own and params:
        raise ValueError(f"dataset: imported images have nothing to set; got {', '.join(params)}. Leave it out")
    return own
