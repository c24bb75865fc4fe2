"""Widgets that show a value which somebody else keeps: the draft, the view, a file. The keeper is always right.

Streamlit tells the browser once of a value that was put into `st.session_state`. Where the run that told it is
interrupted the message is lost: the browser then shows a widget's first entry, or none, and sends that back as if a
person had chosen it. So nothing is put there. Each time a widget is drawn it names the kept value as its own start, and
a value that changed by another hand than the person's on this widget gives it a new key: the browser draws it anew.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.shared.error_guard import report_errors
from app.shared.text import fault_words, one_line

SHARED_VALUES = "lab.agreed"
SESSION = "lab.session"
ACTED = "lab.acted"


@dataclass
class SharedValue:
    """What a widget and its keeper agreed on last, and how often the keeper was changed by another hand."""

    value: Any
    changes: int = 0


def value_widget(draw: Callable[[Any, str], Any], name: str, kept: Any, *, clearable: bool = False) -> Any:
    """What the person has put into the widget `name`, else the `kept` value, which it is to show.

    `draw(start, key)` makes the widget with that start and under that key, and returns its value. None from a widget
    that is not `clearable` is no wish of a person: it stands for the kept value.
    """
    agreed = st.session_state.setdefault(SHARED_VALUES, {}).setdefault(name, SharedValue(kept))
    if agreed.value != kept:
        agreed.value, agreed.changes = kept, agreed.changes + 1
    key = f"{name}~{agreed.changes}" if agreed.changes else name
    start = st.session_state.get(key, kept)
    if start is None and not clearable:
        start = kept
    value = draw(start, key)
    if value is None and not clearable:
        value = kept
    agreed.value = value
    return value


def distinct_labels(options: Sequence[Any], words: Callable[[Any], str]) -> Callable[[Any], str]:
    """`words`, but never the same for two options: the browser names an option by its words alone."""
    texts: dict[Any, str] = {}
    seen: Counter[str] = Counter()
    for option in options:
        text = words(option)
        seen[text] += 1
        texts[option] = text if seen[text] == 1 else f"{text} ({seen[text]})"
    return lambda option: texts[option] if option in texts else words(option)


def stored_selectbox(
    name: str, label: str, options: Sequence[Any], kept: Any, *, words: Callable[[Any], str] = str, **more: Any
) -> Any:
    """A list with the kept value chosen; if it is not among the options, none is, and the list says so."""
    words = distinct_labels(options, words)

    def draw(start: Any, key: str) -> Any:
        if start in options:
            return st.selectbox(label, options, list(options).index(start), format_func=words, key=key, **more)
        said = f"{one_line(str(start), 40)} is not offered here; choose"
        but = more | {"placeholder": said}
        return st.selectbox(label, options, None, format_func=words, key=f"{key}~none", **but)

    return value_widget(draw, name, kept)


def stored_segments(
    name: str, label: str, options: Sequence[Any], kept: Any, *, words: Callable[[Any], str] = str, **more: Any
) -> Any:
    """The same for a few options, side by side."""

    def draw(start: Any, key: str) -> Any:
        if start in options:
            return st.segmented_control(
                label, options, format_func=words, default=start, key=key, required=True, **more
            )
        return st.segmented_control(label, options, format_func=words, key=f"{key}~none", **more)

    return value_widget(draw, name, kept)


def stored_multiselect(
    name: str,
    label: str,
    options: Sequence[Any],
    kept: Sequence[Any],
    *,
    words: Callable[[Any], str] = str,
    **more: Any,
) -> list[Any]:
    """A list of which any number is chosen; what is not offered any more is let go."""

    def draw(start: Sequence[Any], key: str) -> list[Any]:
        return st.multiselect(
            label, options, [item for item in start if item in options], format_func=words, key=key, **more
        )

    return value_widget(draw, name, list(kept))


def on_or_off(name: str, label: str, kept: bool, **more: Any) -> bool:
    return value_widget(lambda start, key: st.toggle(label, start, key=key, **more), name, bool(kept))


def line_of_text(name: str, label: str, kept: str, **more: Any) -> str:
    return value_widget(lambda start, key: st.text_input(label, start, key=key, **more), name, kept)


Label = str | Callable[[float], str]  # of a number: also one that says the number in other words


def stored_number_input(
    name: str, label: Label, low: float | None, high: float | None, kept: float, **more: Any
) -> float:
    """A number field. A kept value beyond its bounds is shown as it is: the bounds give way."""
    return _number(st.number_input, name, label, low, high, kept, more)


def slid_number(name: str, label: Label, low: float, high: float, kept: float, **more: Any) -> float:
    """A slider, in the same way."""
    return _number(st.slider, name, label, low, high, kept, more)


def _number(
    widget: Callable[..., float],
    name: str,
    label: Label,
    low: float | None,
    high: float | None,
    kept: float,
    more: dict[str, Any],
) -> float:
    def draw(start: float, key: str) -> float:
        bounds = None if low is None else min(low, start), None if high is None else max(high, start)
        return widget(label(start) if callable(label) else label, *bounds, start, key=key, **more)

    return value_widget(draw, name, kept)


def stored_widget(draw: Callable[..., Any], name: str, stored: Any, store: Callable[[Any], object]) -> Any:
    """A value that lies on the disk, where several may write it: `store` is called when the person here changes it, and
    only then. What others write is shown. Returns the value that is shown.

    `draw(start, key=, on_change=, args=)` makes the widget. The key is this session's own: a page that was left open
    would send what it showed to the next session.
    """
    own = f"{name}.{st.session_state.setdefault(SESSION, uuid.uuid4().hex[:12])}"

    def draw_stored(start: Any, key: str) -> Any:
        return draw(start, key=key, on_change=_store, args=(own, key, store))

    return value_widget(draw_stored, own, stored)


def _store(name: str, key: str, store: Callable[[str], None]) -> None:
    try:
        store(st.session_state[key])
    except (ValueError, OSError) as error:
        st.toast(fault_words(error), icon=":material/error:", duration="long")
    else:
        st.session_state[SHARED_VALUES][name].value = st.session_state[key]


def act_button(
    label: str, *, key: str, on_click: Callable[..., object], args: tuple[Any, ...] = (), **more: Any
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


def _act(key: str, act: Callable[..., object], args: tuple[Any, ...]) -> None:
    st.session_state.setdefault(ACTED, set()).add(key)
    report_errors(act)(*args)
