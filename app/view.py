"""What a person is looking at: one typed record, to and from the URL, so that a link shows the same thing."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import streamlit as st

from app.url import mirror

HELD = "lab.view"
PAGE = "lab.page"
ENTERED = "lab.entered"
STALE_S = 20.0
PENDING = "lab.view.changes"
NAMES = ("run", "step", "map", "queries", "pins", "picked", "side")
Queries = Literal["hardest", "random", "pinned", "selected"]


@dataclass(frozen=True)
class View:
    """`run` None: the untrained preview of what is being chosen. `step` None: live, the newest there is."""

    run: str | None = None
    step: int | None = None
    method: str | None = None
    queries: Queries = "hardest"
    pins: tuple[int, ...] = ()
    picked: int | None = None
    side: Literal["held_out", "train"] = "held_out"

    @classmethod
    def read(cls) -> Self:
        """The view of this session, with what was changed since; what a URL names wrongly is as if it were not there.

        A URL that is neither the session's nor one that it left a moment ago is where the person went: it is followed.
        A page that was just entered by a URL without a view shows the one that was left.
        """
        url = cls._of_url()
        entered = st.session_state.pop(ENTERED, False)
        held = st.session_state.setdefault(HELD, Held(url))
        held.forget(time.monotonic() - STALE_S)
        if entered and url == cls():
            held.leave(url)
        elif entered or url not in held.left:
            held.view = url
        changes = st.session_state.pop(PENDING, None)
        if changes:
            held.leave(held.view)
            held.view = dataclasses.replace(held.view, **changes)
        if held.view != url:
            held.view._write()
        return held.view

    @classmethod
    def _of_url(cls) -> Self:
        url = st.query_params
        queries, side = url.get("queries", "hardest"), url.get("side", "held_out")
        pins = tuple(number for text in url.get("pins", "").split(",") if (number := whole(text)) is not None)
        return cls(
            run=url.get("run") or None,
            step=whole(url.get("step", "")),
            method=url.get("map") or None,
            queries=queries if queries in get_args(Queries) else "hardest",
            pins=pins[:24],
            picked=whole(url.get("picked", "")),
            side="train" if side == "train" else "held_out",
        )

    def _write(self) -> None:
        """Put the view into the URL; what is as usual is left out."""
        values = {
            "run": self.run,
            "step": None if self.step is None else str(self.step),
            "map": self.method,
            "queries": None if self.queries == "hardest" else self.queries,
            "pins": ",".join(map(str, self.pins)) or None,
            "picked": None if self.picked is None else str(self.picked),
            "side": None if self.side == "held_out" else self.side,
        }
        mirror({name: value for name, value in values.items() if value is not None}, NAMES.__contains__)

    def but(self, **changes: object) -> Self:
        """The view with changes, which count from the next `read` on: what a callback writes to the URL may be lost."""
        st.session_state[PENDING] = st.session_state.get(PENDING, {}) | changes
        return dataclasses.replace(self, **changes)


def note_page(title: str) -> None:
    """Called by the frame before a page runs."""
    if st.session_state.get(PAGE) != title:
        st.session_state[PAGE] = title
        st.session_state[ENTERED] = True


def look_at(run: str | None) -> None:
    """Show this run from the next `View.read` on, live; None: the untrained preview of what is being chosen."""
    View().but(run=run, step=None, method=None, queries="hardest", pins=(), picked=None)


def look_away_from(runs: list[str]) -> None:
    """Whoever looked at one of these runs, which are being deleted, looks at the preview instead."""
    held = st.session_state.get(HELD)
    if held is not None and held.view.run in runs:
        look_at(None)


@dataclass
class Held:
    """The session's view, and those that a browser may still name which has not yet heard of it.

    The browser sends its URL with every message, and Streamlit may hold a message back and join it with later ones. One
    that was under way when the view changed names the old one; taking that for a wish would undo the change.
    """

    view: View
    left: dict[View, float] = field(default_factory=dict)

    def leave(self, view: View) -> None:
        self.left[view] = time.monotonic()

    def forget(self, before: float) -> None:
        self.left = {view: at for view, at in self.left.items() if at > before and view != self.view}


def whole(text: str) -> int | None:
    """The whole number that `text` is, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
