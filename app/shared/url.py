"""The URL mirrors what the session holds: each owner writes its own names and leaves the others' alone.

Streamlit makes an entry of the browser's history of every change of the URL, so a run of a page changes it once at
most, and `browser/history.js` joins what a page says when it is entered to the entry of the page: one step back is one
act undone. Whoever mirrors something follows it when the person `went_back`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx

COLLECTED = "lab.url"  # what the URL is to be after this run of a page; missing while nothing is collected


def sync_query_params(values: Mapping[str, str], ours: Callable[[str], bool]) -> None:
    """Of the names that are `ours`, the URL has exactly `values`; the browser hears only of a change, once."""
    collected = st.session_state.get(COLLECTED)
    now = st.query_params.to_dict() if collected is None else collected
    wanted = {name: text for name, text in now.items() if not ours(name)} | dict(values)
    if collected is None:
        write_query_params(wanted)
    else:
        st.session_state[COLLECTED] = wanted


@contextlib.contextmanager
def single_history_entry() -> Iterator[None]:
    """All that is mirrored within reaches the browser together, unless the run is given up for another."""
    st.session_state[COLLECTED] = st.query_params.to_dict()
    try:
        yield
    except StopException:
        write_query_params(st.session_state[COLLECTED])
        raise
    else:
        write_query_params(st.session_state[COLLECTED])
    finally:
        st.session_state.pop(COLLECTED, None)


def write_query_params(wanted: Mapping[str, str]) -> None:
    """Make the URL `wanted`.

    Where it also holds names that are bound to widgets, which Streamlit lets nobody else write, the browser hears once
    of each name that goes and once of the rest.
    """
    now = st.query_params.to_dict()
    if wanted == now:
        return
    try:
        st.query_params.from_dict(wanted)
    except StreamlitAPIException:
        for name in now.keys() - wanted.keys():
            del st.query_params[name]
        changed = {name: text for name, text in wanted.items() if now.get(name) != text}
        if changed:
            st.query_params.update(changed)


def went_back() -> bool:
    """Whether this run is because the person went back or forward in the browser's history."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation
