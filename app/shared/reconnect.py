"""A page in the browser that outlives its session: the server was started again, or the page was away for long.

Streamlit then gives it a new session, but asks for the page anew only where something in it is drawn by the clock.
Otherwise the old page stays, looks alive, and the first press in it comes to a session that knows none of its widgets.
"""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

BEGUN = "lab.begun"
BEAT_S = 60.0
WORDS = (
    "Connected again: the lab was started anew, or this page was away for long. What you had set is as it was. If you "
    "pressed something just now, look whether it was done; if not, press it again."
)


def announce_new_session() -> None:
    """Say so when the page is older than the session: a page that is just opened has no messages kept yet."""
    if BEGUN in st.session_state:
        return
    st.session_state[BEGUN] = True
    context = get_script_run_ctx()
    if context is not None and context.cached_message_hashes:
        st.toast(WORDS, icon=":material/sync:", duration="long")


@st.fragment(run_every=BEAT_S)
def refresh_by_clock() -> None:
    """Something that is drawn by the clock on every page."""
