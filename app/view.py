"""What a person is looking at: one typed record, to and from the URL, so that a link shows the same thing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, Self, get_args

import streamlit as st

PENDING = "lab.view"
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
        """The view of the URL, with what was changed since; what it names wrongly is as if it were not there."""
        view = cls._of_url()
        changes = st.session_state.pop(PENDING, None)
        if changes:
            view = dataclasses.replace(view, **changes)
            view._write()
        return view

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
        for name, value in values.items():
            if value is None:
                if name in st.query_params:
                    del st.query_params[name]
            elif st.query_params.get(name) != value:
                st.query_params[name] = value

    def but(self, **changes: object) -> Self:
        """The view with changes. The URL gets them at the next `read`: what a callback writes to it may be lost."""
        st.session_state[PENDING] = st.session_state.get(PENDING, {}) | changes
        return dataclasses.replace(self, **changes)


def whole(text: str) -> int | None:
    """The whole number that `text` is, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
