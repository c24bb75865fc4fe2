"""What a person is looking at: one typed record, to and from the URL, so that a link shows the same thing."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import time
import zlib
from dataclasses import dataclass, field
from typing import Literal, Self, TypedDict, Unpack, get_args

import streamlit as st

from app.shared.url import sync_query_params, went_back

HELD = "lab.view"
PAGE = "lab.page"
ENTERED = "lab.entered"
STALE_S = 20.0
PENDING = "lab.view.changes"
PLAYING = "lab.playing"  # the scrubber moves by itself: no entry of the history for each step
NAMES = ("run", "step", "map", "queries", "pins", "picked", "side", "hidden", "angles", "lasso", "below")
MOST_IN_LINK = 1500  # characters of a lasso
Queries = Literal["hardest", "random", "pinned", "selected"]


Side = Literal["held_out", "train"]
Below = Literal["search", "failures"]
SIDE_WORDS: dict[Side, str] = {"held_out": "Held out", "train": "Training"}


class ViewChanges(TypedDict, total=False):
    """Fields of a View that change together."""

    run: str | None
    step: int | None
    method: str | None
    queries: Queries
    pins: tuple[int, ...]
    picked: int | None
    side: Side
    hidden: tuple[int, ...]
    angles: str | None
    lasso: tuple[int, ...]
    below: Below


@dataclass(frozen=True)
class View:
    """`run` None: the untrained preview of what is being chosen. `step` None: live, the newest there is.

    `lasso`, `pins`, `picked` are ids of samples, `hidden` numbers of classes; `angles` None: those that go with
    the loss.
    """

    run: str | None = None
    step: int | None = None
    method: str | None = None
    queries: Queries = "hardest"
    pins: tuple[int, ...] = ()
    picked: int | None = None
    side: Side = "held_out"
    hidden: tuple[int, ...] = ()
    angles: str | None = None
    lasso: tuple[int, ...] = ()
    below: Below = "search"

    @classmethod
    def read(cls) -> Self:
        """The view of this session, with what was changed since; what a URL names wrongly is as if it were not there.

        A URL that is neither the session's nor one that it left a moment ago is where the person went: it is followed,
        and so is every one to which the person went back.
        A page that was just entered by a URL without a view shows the one that was left.
        """
        url = cls._of_url()
        entered = st.session_state.pop(ENTERED, False)
        held = st.session_state.setdefault(HELD, SessionView(url, url))
        held.forget(time.monotonic() - STALE_S)
        if entered and url == cls():
            held.leave(url)
        elif url != held.view.for_link() and (entered or went_back() or url not in (held.written, *held.left)):
            held.view = held.written = url
        changes = st.session_state.pop(PENDING, None)
        if changes:
            held.leave(held.view)
            held.view = dataclasses.replace(held.view, **changes)
        if held.view.for_link() != url and not st.session_state.get(PLAYING):
            held.written = held.view.for_link()
            held.written._write()
        return held.view

    @classmethod
    def _of_url(cls) -> Self:
        url = st.query_params
        asked: Queries | None = next((known for known in get_args(Queries) if known == url.get("queries")), None)
        return cls(
            run=url.get("run") or None,
            step=parse_number(url.get("step", "")),
            method=url.get("map") or None,
            queries=asked or "hardest",
            pins=parse_numbers(url.get("pins", ""))[:24],
            picked=parse_number(url.get("picked", "")),
            side="train" if url.get("side") == "train" else "held_out",
            hidden=parse_numbers(url.get("hidden", "")),
            angles=url.get("angles") or None,
            lasso=unpack_ids(url.get("lasso", "")),
            below="failures" if url.get("below") == "failures" else "search",
        )

    def for_link(self) -> Self:
        """The view as a link carries it: without a lasso around very many samples."""
        return self if self.lasso_fits_link() else dataclasses.replace(self, lasso=())

    def lasso_fits_link(self) -> bool:
        return len(pack_ids(self.lasso)) <= MOST_IN_LINK

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
            "hidden": ",".join(map(str, self.hidden)) or None,
            "angles": self.angles,
            "lasso": pack_ids(self.lasso) or None,
            "below": None if self.below == "search" else self.below,
        }
        sync_query_params({name: value for name, value in values.items() if value is not None}, NAMES.__contains__)

    def with_changes(self, **changes: Unpack[ViewChanges]) -> Self:
        """The view with changes, which count from the next `read` on: what a callback writes to the URL may be lost."""
        st.session_state[PENDING] = st.session_state.get(PENDING, {}) | changes
        return dataclasses.replace(self, **changes)


def record_page(title: str) -> None:
    """Called by the frame before a page runs."""
    if st.session_state.get(PAGE) != title:
        st.session_state[PAGE] = title
        st.session_state[ENTERED] = True


def view_run(run: str | None) -> None:
    """Show this run from the next `View.read` on, live; None: the untrained preview of what is being chosen."""
    st.session_state[PENDING] = dataclasses.asdict(View(run))


def leave_runs(runs: list[str]) -> None:
    """Whoever looked at one of these runs, which are being deleted, looks at the preview instead."""
    held = st.session_state.get(HELD)
    if held is not None and held.view.run in runs:
        view_run(None)


@dataclass
class SessionView:
    """The session's view, and those that a browser may still name which has not yet heard of it.

    The browser sends its URL with every message, and Streamlit may hold a message back and join it with later ones. One
    that was under way when the view changed names the old one; taking that for a wish would undo the change.
    """

    view: View
    written: View  # what the URL was last seen or made to say
    left: dict[View, float] = field(default_factory=dict)

    def leave(self, view: View) -> None:
        self.left[view] = time.monotonic()

    def forget(self, before: float) -> None:
        self.left = {view: at for view, at in self.left.items() if at > before and view != self.view}


def parse_number(text: str) -> int | None:
    """The whole number that `text` is, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def parse_numbers(text: str) -> tuple[int, ...]:
    """The whole numbers between commas, each once, in their order."""
    return tuple(dict.fromkeys(number for part in text.split(",") if (number := parse_number(part)) is not None))


def pack_ids(ids: tuple[int, ...]) -> str:
    """Ascending sample ids as a short text: their differences, 7 bits a byte, compressed."""
    raw = bytearray()
    for before, now in zip((-1, *ids), ids, strict=False):
        rest = now - before - 1
        while rest > 127:
            raw.append(rest & 127 | 128)
            rest >>= 7
        raw.append(rest)
    return base64.urlsafe_b64encode(zlib.compress(bytes(raw), 9)).decode().rstrip("=") if ids else ""


def unpack_ids(text: str) -> tuple[int, ...]:
    """The ids that `pack_ids` made a text of; () for any other text."""
    try:
        raw = zlib.decompressobj().decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), MOST_UNPACKED)
    except (ValueError, binascii.Error, zlib.error):
        return ()
    ids, now, rest, shift = [], -1, 0, 0
    for byte in raw:
        rest |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            now += rest + 1
            ids.append(now)
            rest = shift = 0
    return tuple(ids) if now < 2**32 else ()


MOST_UNPACKED = 100_000  # bytes
