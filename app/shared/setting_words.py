"""What sets a run apart, in a few words each: 'margin 0.3 rad', '600 steps'. Pure functions."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from app.shared.datasets import section_registry
from app.shared.draft import CHOSEN_FIRST, default_spec
from app.shared.text import count
from mlcore.declare import Param
from mlcore.spec.defaults import PART_ROOMS, Settings
from mlcore.spec.run_spec import RunSpec

ALWAYS = ("budget.steps", "seed")
UNSAID = ("name",)  # stands above the words


def setting_words(spec: RunSpec) -> list[str]:
    """The chosen data, backbone and loss, and then `differing_words`."""
    settings = spec.settings()
    return [*(one_setting(settings, name) for name in ("dataset", "backbone", "loss")), *differing_words(spec)]


def differing_words(spec: RunSpec) -> list[str]:
    """The loss's first knob, and what differs from what is usual with the chosen data, backbone, loss and method; then
    length and seed."""
    settings = spec.settings()
    first_knob = [f"loss.{param.name}" for param in section_registry("loss")[spec.loss.key].params[:1]]
    usual = usual_settings(*(str(settings[name]) for name in CHOSEN_FIRST))
    said = [name for name in settings if settings[name] != usual.get(name) and name not in (*ALWAYS, *UNSAID)]
    said = [*first_knob, *(name for name in said if name not in first_knob)]
    return [one_setting(settings, name) for name in (*said, *ALWAYS)]


@functools.lru_cache(maxsize=256)
def usual_settings(*chosen: str) -> Settings:
    """What a lab that nobody has touched sets with the parts of `CHOSEN_FIRST`, but for the method."""
    named = dict(zip(CHOSEN_FIRST, chosen, strict=True))
    usual_method = RunSpec.model_fields["method"].default.key
    return {**default_spec().settings_with(named), "method": usual_method}


def changed_words(before: RunSpec, after: RunSpec) -> list[str]:
    """What another run would have otherwise: 'Triplet margin instead of ArcFace', 'seed 1 instead of 0'.

    Of a part that is exchanged its knobs are not said: they are other ones.
    """
    old, new = before.settings(), after.settings()
    changed = [name for name in new if name not in UNSAID and old.get(name) != new[name]]
    exchanged = {name for name in changed if name in PART_ROOMS}
    said = [name for name in changed if name in exchanged or name.partition(".")[0] not in exchanged]
    return [f"{one_setting(new, name)} instead of {value_words(old, name)}" for name in said]


def one_setting(settings: Settings, name: str) -> str:
    """'ArcFace', 'margin 0.3 rad', '600 steps', 'weight decay 0.01'."""
    value = value_words(settings, name)
    if name == "budget.steps":
        return count(int(str(settings[name])), "step")
    if name in PART_ROOMS:
        return value if name in CHOSEN_FIRST else f"{words_of(name)}: {value}"
    return f"{setting_title(settings, name)} {value}"


def value_words(settings: Settings, name: str) -> str:
    """'ArcFace', '0.3 rad', 'on', 'none'."""
    value = settings.get(name)
    if value is None:
        return "none"
    if name in PART_ROOMS:
        part = section_registry(name).get(str(value))
        return part.title if part else str(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    param = find_param(settings, name)
    unit = f" {param.knob.unit}" if param and param.knob.unit else ""
    return f"{value:.4g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def setting_title(settings: Settings, name: str) -> str:
    """'margin' of 'loss.margin', 'backbone rate' of 'optimizer.backbone_lr'; another section's knob names its part."""
    section, _, field = name.rpartition(".")
    if name in TITLES:
        return TITLES[name]
    param = find_param(settings, name)
    title = words_of(param.title if param else field)
    return title if section in ("", "loss", "optimizer", "budget") else f"{words_of(section)} {title}"


TITLES = {
    "optimizer.backbone_lr": "backbone rate",
    "optimizer.head_lr": "head rate",
    "optimizer.proxies_lr": "proxy rate",
    "optimizer.name": "optimiser",
    "head.kind": "head",
    "head.embedding_size": "embedding size",
    "backbone.freeze": "frozen:",
    "watch.evaluate_every": "evaluated every",
    "dataset.split": "held out by",
}


def find_param(settings: Settings, name: str) -> Param | None:
    """The declared knob that a setting is, if it is one."""
    section, _, field = name.rpartition(".")
    if section not in PART_ROOMS:
        return None
    part = section_registry(section).get(str(settings.get(section)))
    return next((param for param in part.params if param.name == field), None) if part else None


def words_of(name: str) -> str:
    """Small, with spaces: 'weight_decay' is 'weight decay', 'Scale' is 'scale'."""
    spaced = name.replace("_", " ")
    return spaced if spaced[:2].isupper() else spaced[:1].lower() + spaced[1:]


def join_words(words: Iterable[str], most: int) -> str:
    """The first of the words, and how many more there are: 'a · b · 3 more'."""
    found = list(words)
    return " · ".join([*found[:most], *([f"{len(found) - most} more"] if len(found) > most else [])])
