"""The URL mirrors what the session holds: each owner writes its own names and leaves the others' alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st


def mirror(values: Mapping[str, str], ours: Callable[[str], bool]) -> None:
    """Of the names that are `ours`, the URL has exactly `values`; the browser hears only of a change, once."""
    now = st.query_params.to_dict()
    wanted = {name: text for name, text in now.items() if not ours(name)} | dict(values)
    if wanted != now:
        st.query_params.from_dict(wanted)
