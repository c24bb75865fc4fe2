"""Whether the page is light or dark."""

from __future__ import annotations

from typing import Literal

import streamlit as st


def current_theme() -> Literal["light", "dark"]:
    """`light` or `dark`, as the browser shows the page."""
    return "dark" if st.context.theme.type == "dark" else "light"
