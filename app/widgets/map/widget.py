"""The live map as a Streamlit widget: one packed message in, ids out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app.widgets.bundle import BundledComponent
from app.widgets.map.message import MapFrame, pack

# The files are plain scripts that share one scope; map.js comes last and exports the entry.
_FILES = (
    "message.js",
    "camera.js",
    "../two_owners.js",
    "style.js",
    "paint_gl.js",
    "paint_canvas.js",
    "layers.js",
    "chrome.js",
    "legend.js",
    "gestures.js",
    "map.js",
)
_HERE = Path(__file__).parent
_STATES = ("lasso", "picked", "hidden", "follow")


MAP = BundledComponent("lab_map", [_HERE / name for name in _FILES], _HERE / "map.css")


@dataclass(frozen=True)
class MapEvents:
    """What the person has set in the map. `changed` names what is new since this session's last call with the same key;
    the rest repeats the latest known value (the frame's own until the person touches it)."""

    lasso: tuple[int, ...]
    picked: int | None
    hidden: tuple[int, ...]
    follow: bool
    changed: frozenset[str]


def live_map(frame: MapFrame, *, key: str, height: int = 520) -> MapEvents:
    """Draw `frame` in the map `key`, or move the map that is already there to it. `height` in CSS pixels (at least
    240).

    Call it in every run of the page or fragment; an unchanged frame costs a hash. Camera, legend and lasso stay the
    person's.
    """
    if height < 240:
        raise ValueError(f"live_map: height must be at least 240 pixels; got {height}; below that nothing can be read.")
    result = MAP(key=key, data=pack(frame, height=height), **{f"on_{name}_change": _nothing for name in _STATES})
    return _events(frame, {name: result.get(name) for name in _STATES}, st.session_state.setdefault(f"_{key}_seen", {}))


def _nothing() -> None:
    """A state needs a callback to be told apart from a trigger; the page reads the returned events instead."""


def _events(frame: MapFrame, states: dict[str, Any], seen: dict[str, Any]) -> MapEvents:
    """`states`: name -> {"stamp": number, "value": ...} as map.js sends them; `seen`: name -> stamp, updated here."""
    values: dict[str, Any] = {
        "lasso": frame.selected,
        "picked": frame.picked,
        "hidden": frame.hidden_classes,
        "follow": frame.camera == "follow",
    }
    changed = set()
    for name, state in states.items():
        if not isinstance(state, dict):
            continue
        values[name] = state["value"]
        if seen.get(name) != state["stamp"]:
            seen[name] = state["stamp"]
            changed.add(name)
    return MapEvents(
        lasso=tuple(int(sample) for sample in values["lasso"]),
        picked=None if values["picked"] is None else int(values["picked"]),
        hidden=tuple(int(label) for label in values["hidden"]),
        follow=bool(values["follow"]),
        changed=frozenset(changed),
    )
