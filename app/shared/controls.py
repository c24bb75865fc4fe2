"""A declaration becomes widgets, the widgets become settings of the draft. No part is named here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypedDict, Unpack

import streamlit as st
from streamlit.elements.lib.mutable_expander_container import ExpanderContainer
from streamlit.elements.lib.mutable_popover_container import PopoverContainer

from app.shared.datasets import section_registry
from app.shared.draft import WIDGET, Draft
from app.shared.setting_search import is_searching, setting_note
from app.shared.stored_widgets import (
    NumberLook,
    Option,
    act_button,
    line_of_text,
    on_or_off,
    slid_number,
    stored_number_input,
    stored_segments,
    stored_selectbox,
)
from app.shared.text import look_up_words
from mlcore.catalogue import registry
from mlcore.declare import KnobValue, Param, PartSpec
from mlcore.spec.defaults import PART_ROOMS, WEIGHTED

SLIDER_STEPS = 200
IN_ORDER = 12  # more parts than that are listed by title
LEFT_OUT = ""


class StepAndFormat(TypedDict, total=False):
    step: float | None
    format: str | None


def lazy_expander(label: str, draw: Callable[..., None], *args: object, key: str | None = None) -> None:
    """An expander whose contents, `draw(*args)`, are made only while it is open, or while a setting is looked for."""
    if is_searching():
        draw(*args)
        return
    box = st.expander(label, key=key or f"lab.fold.{label}", on_change="rerun")
    if is_open(box):
        with box:
            draw(*args)


def is_open(box: ExpanderContainer | PopoverContainer) -> bool:
    return bool(box.open)


def part_choice(
    draft: Draft, section: str, label: str, *, help: str | None = None, without: tuple[str, ...] = ()
) -> PartSpec:
    """A list of the parts of a room, but those that it is `without`; returns the chosen one."""
    room = {name: part for name, part in section_registry(section).items() if name not in without}
    keys = sorted(room, key=lambda name: room[name].title.lower()) if len(room) > IN_ORDER else list(room)
    title = look_up_words({name: room[name].title for name in keys})
    chosen = stored_selectbox(f"{WIDGET}{section}", label, keys, draft.get(section), words=title, help=help)
    draft.choose(section, chosen)
    return section_registry(section)[chosen]


def optional_part(draft: Draft, section: str, label: str, without: str, keys: list[str], *, help: str) -> None:
    """A list of the parts that fit, saying `without` while none is chosen, with the knobs of the chosen one.

    A part that does not fit any more is left out; where none fits, nothing is offered.
    """
    room = registry(PART_ROOMS[section])
    if draft.get(section) is not None and draft.get(section) not in keys:
        draft.choose(section, None)
    if not keys:
        return
    ordered = sorted(keys, key=lambda name: room[name].title.lower())
    titles = {LEFT_OUT: without} | {name: room[name].title for name in ordered}
    chosen = stored_selectbox(
        f"{WIDGET}{section}",
        label,
        list(titles),
        draft.get(section) or LEFT_OUT,
        words=look_up_words(titles),
        help=help,
    )
    draft.choose(section, chosen or None)
    if not chosen:
        return
    setting_note(room[chosen].description.split("\n\n")[0])
    if section in WEIGHTED:
        draft.settings.setdefault(f"{section}.weight", 1.0)
        number_setting(
            draft, f"{section}.weight", "Weight", 0.0, 1e6, step=None, format="%.4g", help="Times this, then added."
        )
    part_knobs(draft, section, room[chosen])


def part_knobs(draft: Draft, section: str, spec: PartSpec, *, without: tuple[str, ...] = ()) -> None:
    """A widget for every knob of the chosen part but those `without`, and a way back to its defaults."""
    spec = replace(spec, params=tuple(param for param in spec.params if f"{section}.{param.name}" not in without))
    knobs = draft.knobs(section)
    values = {param.name: knobs[param.name] for param in spec.params}
    for name, value in knob_widgets(spec, values, f"{WIDGET}{section}.{spec.key}").items():
        draft.set(f"{section}.{name}", value)
    if values != spec.defaults() and not is_searching():
        act_button(
            "Reset to defaults",
            key=f"lab.reset.{section}",
            icon=":material/undo:",
            type="tertiary",
            on_click=reset_knobs,
            args=(draft, section, spec),
        )


def knob_widgets(spec: PartSpec, values: Mapping[str, KnobValue], prefix: str) -> dict[str, KnobValue]:
    """A widget for every knob under the key `prefix.name`, the rare ones folded away; returns their values."""
    usual, rare = ([param for param in spec.params if param.knob.rare is wanted] for wanted in (False, True))
    found = dict(values)

    def draw(params: list[Param]) -> None:
        found.update({param.name: knob_widget(param, values[param.name], f"{prefix}.{param.name}") for param in params})

    draw(usual)
    if rare:
        lazy_expander("More knobs", draw, rare, key=f"{prefix}.more")
    return found


def reset_knobs(draft: Draft, section: str, spec: PartSpec) -> None:
    for param in spec.params:
        draft.set(f"{section}.{param.name}", param.default)
    draft.settings.pop(f"@{section}.{spec.key}", None)


def knob_widget(param: Param, value: KnobValue, name: str) -> KnobValue:
    """The widget that fits a knob's kind and range; returns its value."""
    knob = param.knob
    if knob.none:
        return optional_widget(param, value, name)
    if knob.choices:
        return stored_selectbox(name, knob_label(param, value), knob.choices, str(value), help=knob.text)
    if param.kind == "bool":
        return on_or_off(name, knob_label(param, value), bool(value), help=knob.text)
    if param.kind == "str":
        return line_of_text(name, knob_label(param, value), str(value), help=knob.text)
    return number_widget(param, number_of(value), name)


def number_widget(param: Param, value: float, name: str) -> float:
    """A slider where the range is closed and even, else a number field; the label tells an angle in degrees, too."""
    knob = param.knob
    kind = int if param.kind == "int" else float
    low, high = (None if bound is None else kind(bound) for bound in (knob.low, knob.high))
    options: NumberLook = {"help": knob.text, "format": number_format(param)}

    def label(shown: float) -> str:
        return knob_label(param, shown)

    if low is None or high is None or knob.log:
        options["step"] = 1 if kind is int else None
        return stored_number_input(name, label, low, high, kind(value), **options)
    options["step"] = 1 if kind is int else nice_step((high - low) / SLIDER_STEPS)
    return slid_number(name, label, low, high, kind(value), **options)


def optional_widget(param: Param, value: KnobValue, name: str) -> float | None:
    """A switch between None (in the knob's own words) and a value."""
    knob = param.knob
    label = f"Choose the {knob_label(param, None).lower()}"
    if not on_or_off(f"{name}.on", label, value is not None, help=f"{knob.text} Off: {knob.none}."):
        return None
    start = knob.low if knob.low is not None else 1
    return number_widget(param, start if value is None else number_of(value), name)


def number_of(value: KnobValue) -> float:
    """The value of a knob that is a number."""
    assert value is not None
    return float(value)


def knob_label(param: Param, value: KnobValue) -> str:
    """'Margin (rad; 28.6 deg)', with the unit where there is one."""
    name = param.title
    unit = param.knob.unit
    if unit == "rad" and isinstance(value, int | float):
        unit = f"rad; {math.degrees(value):.1f} deg"
    return f"{name} ({unit})" if unit else name


def number_format(param: Param) -> str | None:
    return "%d" if param.kind == "int" else "%.4g"


def nice_step(rough: float) -> float:
    """The 1, 2 or 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)


def choice_setting(
    draft: Draft, name: str, label: str, options: Mapping[Option, str], *, help: str | None = None
) -> Option:
    """One of a few values of a setting, side by side."""
    value = stored_segments(
        f"{WIDGET}{name}",
        label,
        list(options),
        draft.get(name),
        words=look_up_words(options),
        help=help,
        width="stretch",
    )
    draft.set(name, value)
    return value


def list_setting(
    draft: Draft, name: str, label: str, options: Mapping[Option, str], *, help: str | None = None
) -> Option:
    """One of several values of a setting, in a list."""
    value = stored_selectbox(
        f"{WIDGET}{name}", label, list(options), draft.get(name), words=look_up_words(options), help=help
    )
    draft.set(name, value)
    return value


def switch_setting(draft: Draft, name: str, label: str, *, help: str | None = None) -> bool:
    """A setting that is on or off."""
    value = on_or_off(f"{WIDGET}{name}", label, draft.get(name), help=help)
    draft.set(name, value)
    return value


def optional_number_setting(
    draft: Draft,
    name: str,
    label: str,
    low: float,
    high: float,
    start: float,
    *,
    help: str,
    **options: Unpack[StepAndFormat],
) -> None:
    """A number of the draft that may be left out; `start` is what it is set to first."""
    if not on_or_off(f"{WIDGET}{name}.on", label, draft.get(name) is not None, help=help):
        draft.set(name, None)
        return
    if draft.get(name) is None:
        draft.set(name, start)
    number_setting(draft, name, label, low, high, label_visibility="collapsed", **options)


def number_setting(
    draft: Draft, name: str, label: str, low: float, high: float, **options: Unpack[NumberLook]
) -> float:
    """A number of the draft, typed in."""
    value = stored_number_input(f"{WIDGET}{name}", label, low, high, type(low)(draft.get(name)), **options)
    draft.set(name, value)
    return value
