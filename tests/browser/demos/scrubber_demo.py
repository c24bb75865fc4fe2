"""A page with one scrubber over a made-up run; the tests drive it by its buttons and the URL."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from app.widgets.scrubber import scrubber

STEP = 20


def main() -> None:
    asked = st.query_params
    state = st.session_state
    state.setdefault("count", int(asked.get("count", 6)))
    state.setdefault("runs", 0)
    state.setdefault("shown", int(asked["shown"]) if "shown" in asked else None)
    state.setdefault("live", "shown" not in asked)
    state.setdefault("playing", False)
    state.setdefault("steps_heard", [])
    running = st.checkbox("Running", value="done" not in asked)
    _row(int(asked.get("total", 300)), running, "deaf" in asked)


@st.fragment
def _row(total: int, running: bool, deaf: bool) -> None:
    """`deaf`: a page that hands nothing back, always says live, and shows what it is told."""
    state = st.session_state
    state.runs += 1
    left, middle, right = st.columns(3)
    if left.button("New snapshot"):
        state.count += 1
    if middle.button("Page goes to step 40"):
        state.shown, state.live = 40, False
    if right.button("Page starts it"):
        state.playing = True
    steps = list(range(0, STEP * state.count, STEP))
    told = (state.shown if not state.live else (steps[-1] if steps else None), state.live, state.playing)
    shown, live, playing = (steps[-1], True, False) if deaf else told
    place = scrubber(steps, total=total, shown=shown, live=live, running=running, playing=playing, key="scrubber")
    if place.changed:
        state.shown, state.live, state.playing = place.step, place.live, place.playing
        state.steps_heard = [*state.steps_heard, place.step]
        state.last_change = sorted(place.changed)
        st.rerun(scope="fragment")
    st.text(f"step {place.step} live {place.live} playing {place.playing}")
    st.text(f"changed {state.get('last_change')}")
    st.text(f"heard {state.steps_heard}")
    st.text(f"snapshots {state.count}")


main()
