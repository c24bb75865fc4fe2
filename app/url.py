"""The URL mirrors what the session holds: each owner writes its own names and leaves the others' alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st
from streamlit.errors import StreamlitAPIException


def mirror(values: Mapping[str, str], ours: Callable[[str], bool]) -> None:
    """Of the names that are `ours`, the URL has exactly `values`; the browser hears only of a change, once.

    Where the URL also holds names that are bound to widgets, which Streamlit lets nobody else write, it hears once of
    each name that goes and once of the rest.
    """
    now = st.query_params.to_dict()
    wanted = {name: text for name, text in now.items() if not ours(name)} | dict(values)
    if wanted == now:
        return
    try:
        st.query_params.from_dict(wanted)
    except StreamlitAPIException:
        for name in now.keys() - wanted.keys():
            del st.query_params[name]
        changed = {name: text for name, text in values.items() if now.get(name) != text}
        if changed:
            st.query_params.update(changed)
