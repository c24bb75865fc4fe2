"""The scrubber as a Streamlit widget: the snapshots' steps in, the person's place out.

A place is a step, or "live": wherever the newest snapshot is. Page and person may both set it. The page's is taken
over when the page changes it, never when it only repeats what the person had set; here and in scrubber.js alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from app.widgets.bundle import BundledComponent

_HERE = Path(__file__).parent
_STATES = ("step", "live", "playing")
SCRUBBER = BundledComponent("lab_scrubber", [_HERE / "scrubber.js"], _HERE / "scrubber.css")

Place = int | Literal["live"] | None


@dataclass(frozen=True)
class ScrubberEvent:
    """Where the person is. `step` is the step to show: the chosen one, the newest while `live`, None while there is
    nothing to show. `changed` names what the person has set since this session's last call with the same key; leaving
    live by dragging changes both "step" and "live"."""

    step: int | None
    live: bool
    playing: bool
    changed: frozenset[str]


def scrubber(
    steps: Sequence[int],
    *,
    total: int,
    shown: int | None,
    live: bool,
    running: bool,
    playing: bool = False,
    key: str,
) -> ScrubberEvent:
    """Draw the scrubber over the ascending `steps` that have a snapshot (0 is before training), on an axis from 0 to
    the run's planned steps `total`.

    `shown` is the step that the page shows now, `live` whether it follows the newest, `running` whether more will
    come. Hand the answer's `step`, `live` and `playing` back in the next call; new snapshots never move a person who
    isn't live. Not live with `shown=None` stands at the first snapshot.

    Raises: ValueError if `steps` aren't ascending from 0 or more, or `total` or `shown` is negative.
    """
    data = _message(steps, total=total, shown=shown, live=live, running=running, playing=playing)
    result = SCRUBBER(key=key, data=data, **{f"on_{name}_change": _nothing for name in _STATES})
    states = {name: result.get(name) for name in _STATES}
    return _scrubbed(data, states, st.session_state.setdefault(f"_{key}_seen", {}))


def _nothing() -> None:
    """A state needs a callback to be told apart from a trigger; the page reads the returned values instead."""


def _message(
    steps: Sequence[int], *, total: int, shown: int | None, live: bool, running: bool, playing: bool
) -> dict[str, Any]:
    """Plain numbers only, so that equal arguments of any number type make equal messages."""
    known = [int(step) for step in steps]
    if known and known[0] < 0:
        raise ValueError(f"scrubber: steps must be 0 or more; got {known[0]}; step 0 is before training.")
    if any(later <= earlier for earlier, later in pairwise(known)):
        raise ValueError(f"scrubber: steps must ascend, each once; got {known}; pass sorted(set(steps)).")
    for name, value in (("total", total), ("shown", shown)):
        if value is not None and value < 0:
            raise ValueError(f"scrubber: {name} must be 0 or more; got {value}; steps count from 0.")
    return {
        "steps": known,
        "total": max([int(total), *known[-1:]]),
        "shown": None if shown is None else int(shown),
        "live": bool(live),
        "running": bool(running),
        "playing": bool(playing),
    }


def _scrubbed(data: dict[str, Any], states: dict[str, Any], seen: dict[str, Any]) -> ScrubberEvent:
    """`states`: name -> {"stamp": number, "value": ...} as scrubber.js sends them, or None; `seen`: what the last call
    left, updated here."""
    known = {name: state for name, state in states.items() if isinstance(state, dict)}
    fresh = {name for name, state in known.items() if seen.get(name) != state["stamp"]}
    seen.update({name: state["stamp"] for name, state in known.items()})

    first, newest = (data["steps"][0], data["steps"][-1]) if data["steps"] else (None, None)
    page_place: Place = "live" if data["live"] else (first if data["shown"] is None else data["shown"])
    place = _settle("place", page_place, _person_place(known), bool(fresh & {"step", "live"}), seen)
    person_plays = known["playing"]["value"] if "playing" in known else None
    playing = _settle("play", data["playing"], person_plays, "playing" in fresh, seen)

    live = place == "live"
    changed = set(fresh)
    if fresh & {"step", "live"}:
        changed.discard("live")
        if live != seen.get("was_live", data["live"]):
            changed.add("live")
    seen["was_live"] = live
    return ScrubberEvent(step=newest if live else place, live=live, playing=bool(playing), changed=frozenset(changed))


def _person_place(known: dict[str, Any]) -> Place:
    """The newer of the two stamps tells: a step means leaving live, live means leaving the step. None: never set."""
    if not known.keys() & {"step", "live"}:
        return None
    newest = max(("step", "live"), key=lambda name: known[name]["stamp"] if name in known else -1)
    return "live" if newest == "live" else int(known["step"]["value"])


def _settle(what: str, page: Any, person: Any, fresh: bool, seen: dict[str, Any]) -> Any:
    """The value of whoever set it last; `seen` keeps the page's last value and whose turn it is."""
    before = seen.get(f"page_{what}", page)
    seen[f"page_{what}"] = page
    if fresh:
        seen[f"{what}_is_persons"] = True
    elif person is None or (page != before and page != person):
        seen[f"{what}_is_persons"] = False
    return person if seen.get(f"{what}_is_persons") else page
