"""The Lab's page as one screen: the places of its parts. How large each is stands in workbench.css (see
app/assets.py), and in what the person drags (app/widgets/browser/panels.js)."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

MAP_PANEL = "lab.bench.map"


@dataclass(frozen=True)
class Workbench:
    """`map`: the map and its scrubber. `side`: figures beside it. `below`: what a search returns, and what fails."""

    map: DeltaGenerator
    side: DeltaGenerator
    below: DeltaGenerator


def workbench_page() -> DeltaGenerator:
    """The container that is as high as the window; all of the page but its sidebar is drawn within."""
    return st.container(key="lab.page", gap="small")


def draw_workbench() -> Workbench:
    """The three panels, empty; the same whether there is a picture yet or not, so that nothing moves when it comes."""
    with st.container(key="lab.bench"):
        return Workbench(
            map=st.container(key=MAP_PANEL, gap="small"),
            side=st.container(key="lab.bench.side", gap="small"),
            below=st.container(key="lab.bench.below", gap="small"),
        )
