"""Widgets that show a value which somebody else keeps: the draft, the view, a file. The keeper is always right.

Streamlit tells the browser once of a value that was put into `st.session_state`. Where the run that told it is
interrupted the message is lost: the browser then shows a widget's first entry, or none, and sends that back as if a
person had chosen it. So nothing is put there. Each time a widget is drawn it names the kept value as its own start, and
a value that changed by another hand than the person's on this widget gives it a new key: the browser draws it anew.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, TypeVar, Unpack

import streamlit as st

from app.shared.error_guard import report_errors
from app.shared.setting_search import is_wanted
from app.shared.text import fault_words, one_line

SHARED_VALUES = "lab.agreed"
SESSION = "lab.session"
ACTED = "lab.acted"

Value = TypeVar("Value")
Option = TypeVar("Option", bound=Hashable)


@dataclass
class SharedValue:
    """What a widget and its keeper agreed on last, and how often the keeper was changed by another hand."""

    value: object
    changes: int = 0


class Look(TypedDict, total=False):
    """How a widget looks, in Streamlit's own words."""

    help: str | None
    disabled: bool
    label_visibility: Literal["visible", "hidden", "collapsed"]


class ListLook(Look, total=False):
    placeholder: str


class SeveralLook(ListLook, total=False):
    max_selections: int


class RowLook(Look, total=False):
    width: Literal["content", "stretch"]


class NumberLook(Look, total=False):
    step: float | None
    format: str | None


class ButtonLook(TypedDict, total=False):
    help: str | None
    disabled: bool
    type: Literal["primary", "secondary", "tertiary"]
    icon: str | None
    icon_position: Literal["left", "right"]
    shortcut: str | None
    width: Literal["content", "stretch"]


def value_widget(draw: Callable[[Value, str], Value | None], name: str, kept: Value) -> Value:
    """What the person has put into the widget `name`, else the `kept` value, which it is to show.

    `draw(start, key)` makes the widget with that start and under that key, and returns its value. None is no wish of a
    person: it stands for the kept value.
    """
    agreed = st.session_state.setdefault(SHARED_VALUES, {}).setdefault(name, SharedValue(kept))
    if agreed.value != kept:
        agreed.value, agreed.changes = kept, agreed.changes + 1
    key = f"{name}~{agreed.changes}" if agreed.changes else name
    start = st.session_state.get(key, kept)
    chosen = draw(kept if start is None else start, key)
    value = kept if chosen is None else chosen
    agreed.value = value
    return value


def distinct_labels(options: Iterable[Option], words: Callable[[Option], str]) -> Callable[[Option], str]:
    """`words`, but never the same for two options: the browser names an option by its words alone."""
    texts: dict[Option, str] = {}
    seen: Counter[str] = Counter()
    for option in options:
        text = words(option)
        seen[text] += 1
        texts[option] = text if seen[text] == 1 else f"{text} ({seen[text]})"
    return lambda option: texts[option] if option in texts else words(option)


def stored_selectbox(
    name: str,
    label: str,
    options: Sequence[Option],
    kept: Option,
    *,
    words: Callable[[Option], str] = str,
    **more: Unpack[ListLook],
) -> Option:
    """A list with the kept value chosen; if it is not among the options, none is, and the list says so."""
    words = distinct_labels(options, words)
    if not is_wanted(label, name, more.get("help"), *map(words, options)):
        return kept

    def draw(start: Option, key: str) -> Option | None:
        if start in options:
            return st.selectbox(label, options, list(options).index(start), format_func=words, key=key, **more)
        said = f"{one_line(str(start), 40)} is not offered here; choose"
        but = more | {"placeholder": said}
        return st.selectbox(label, options, None, format_func=words, key=f"{key}~none", **but)

    return value_widget(draw, name, kept)


def stored_segments(
    name: str,
    label: str,
    options: Sequence[Option],
    kept: Option,
    *,
    words: Callable[[Option], str] = str,
    **more: Unpack[RowLook],
) -> Option:
    """The same for a few options, side by side."""
    if not is_wanted(label, name, more.get("help"), *map(words, options)):
        return kept

    def draw(start: Option, key: str) -> Option | None:
        if start in options:
            return st.segmented_control(
                label, options, format_func=words, default=start, key=key, required=True, **more
            )
        return st.segmented_control(label, options, format_func=words, key=f"{key}~none", **more)

    return value_widget(draw, name, kept)


def stored_multiselect(
    name: str,
    label: str,
    options: Sequence[Option],
    kept: Sequence[Option],
    *,
    words: Callable[[Option], str] = str,
    **more: Unpack[SeveralLook],
) -> list[Option]:
    """A list of which any number is chosen; what is not offered any more is let go."""

    def draw(start: Sequence[Option], key: str) -> list[Option]:
        return st.multiselect(
            label, options, [item for item in start if item in options], format_func=words, key=key, **more
        )

    return value_widget(draw, name, list(kept))


def on_or_off(name: str, label: str, kept: bool, **more: Unpack[Look]) -> bool:
    if not is_wanted(label, name, more.get("help")):
        return bool(kept)
    return value_widget(lambda start, key: st.toggle(label, start, key=key, **more), name, bool(kept))


def line_of_text(name: str, label: str, kept: str, **more: Unpack[Look]) -> str:
    if not is_wanted(label, name, more.get("help")):
        return kept
    return value_widget(lambda start, key: st.text_input(label, start, key=key, **more), name, kept)


Label = str | Callable[[float], str]  # of a number: also one that says the number in other words


def stored_number_input(
    name: str, label: Label, low: float | None, high: float | None, kept: float, **more: Unpack[NumberLook]
) -> float:
    """A number field. A kept value beyond its bounds is shown as it is: the bounds give way."""
    return _number(st.number_input, name, label, low, high, kept, more)


def slid_number(name: str, label: Label, low: float, high: float, kept: float, **more: Unpack[NumberLook]) -> float:
    """A slider, in the same way."""
    return _number(st.slider, name, label, low, high, kept, more)


def _number(
    widget: Callable[..., float],
    name: str,
    label: Label,
    low: float | None,
    high: float | None,
    kept: float,
    more: NumberLook,
) -> float:
    if not is_wanted(label(kept) if callable(label) else label, name, more.get("help")):
        return kept

    def draw(start: float, key: str) -> float:
        bounds = None if low is None else min(low, start), None if high is None else max(high, start)
        return widget(label(start) if callable(label) else label, *bounds, start, key=key, **more)

    return value_widget(draw, name, kept)


class DrawStored(Protocol[Value]):
    """Makes a widget that tells of a change."""

    def __call__(
        self, start: Value, /, *, key: str, on_change: Callable[..., None], args: tuple[object, ...]
    ) -> Value | None: ...


def stored_widget(draw: DrawStored[Value], name: str, stored: Value, store: Callable[[Value], object]) -> Value:
    """A value that lies on the disk, where several may write it: `store` is called when the person here changes it, and
    only then. What others write is shown. Returns the value that is shown.

    `draw(start, key=, on_change=, args=)` makes the widget. The key is this session's own: a page that was left open
    would send what it showed to the next session.
    """
    own = f"{name}.{st.session_state.setdefault(SESSION, uuid.uuid4().hex[:12])}"

    def draw_stored(start: Value, key: str) -> Value | None:
        return draw(start, key=key, on_change=_store, args=(own, key, store))

    return value_widget(draw_stored, own, stored)


def _store(name: str, key: str, store: Callable[[Value], object]) -> None:
    try:
        store(st.session_state[key])
    except (ValueError, OSError) as error:
        st.toast(fault_words(error), icon=":material/error:", duration="long")
    else:
        st.session_state[SHARED_VALUES][name].value = st.session_state[key]


def act_button(
    label: str,
    *,
    key: str,
    on_click: Callable[..., object],
    args: tuple[object, ...] = (),
    **more: Unpack[ButtonLook],
) -> None:
    """A button that does `on_click(*args)`; if that cannot be done, it is said in words.

    A callback alone is not enough. Where the server was started again, or has forgotten a page that was away for long,
    a press comes to a session that has not drawn the button yet: Streamlit calls nothing and only says that it is
    pressed.
    """
    if st.button(label, key=key, on_click=_act, args=(key, on_click, args), **more):
        acted = st.session_state.get(ACTED, set())
        if key not in acted:
            report_errors(on_click)(*args)
            st.rerun()
        acted.discard(key)


def _act(key: str, act: Callable[..., object], args: tuple[object, ...]) -> None:
    st.session_state.setdefault(ACTED, set()).add(key)
    report_errors(act)(*args)
