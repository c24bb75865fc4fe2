"""A fragment that is drawn again from within, whoever began the run."""

from __future__ import annotations

from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest


def test_a_fragment_is_drawn_again_also_while_the_whole_page_is():
    def page():
        import streamlit as st

        from app.shared.rerun import rerun_fragment

        @st.fragment
        def part():
            times = st.session_state["times"] = st.session_state.get("times", 0) + 1
            st.text(f"drawn {times}")
            if times == 1:
                rerun_fragment()

        part()

    test = AppTest.from_function(page, default_timeout=PATIENCE_S).run()
    assert not test.exception
    assert test.text[0].value == "drawn 2"
