"""The page's own script, which listens on the whole window and draws nothing. Each file is one thing that it does."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent
FILES = [
    HERE / "history.js",
    HERE / "typed_text.js",
    HERE / "dead_page.js",
    HERE / "theme.js",
    HERE / "panels.js",
    HERE / "drawer.js",
    HERE / "script.js",
]
SCRIPT = st.components.v2.component("lab_page", js="\n".join(path.read_text(encoding="utf-8") for path in FILES))


def page_script() -> None:
    """Bring the script to the browser, where it begins once, however often the page is drawn."""
    SCRIPT(key="lab.page.script", on_theme_change=draw_anew)


def draw_anew() -> None:
    """Nothing: what is drawn after a callback has the browser's new theme."""
