"""Drawing a fragment again from within."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx


def rerun_fragment() -> None:
    """Draw the fragment again that this is called in; the whole page, where the whole page is being drawn.

    Streamlit refuses `scope="fragment"` then, and any act may be met by a run of the whole page.
    """
    context = get_script_run_ctx()
    st.rerun(scope="fragment" if context is not None and context.fragment_ids_this_run else "app")
