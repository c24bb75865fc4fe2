"""The alternative to the live map: the same points in `st.plotly_chart`, key and uirevision fixed."""

from __future__ import annotations

import sys
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parent))

from map_demo import demo_frame


def main() -> None:
    st.set_page_config(layout="wide")
    asked = st.query_params
    st.session_state.setdefault("step", int(asked.get("step", 0)))
    if st.button("Next step"):
        st.session_state.step += 30
    _picture(int(asked.get("count", 2000)))


@st.fragment
def _picture(count: int) -> None:
    frame = demo_frame(st.session_state.step, count, 10, 2, "umap", "light")
    points = go.Scattergl(
        x=frame.positions[:, 0],
        y=frame.positions[:, 1],
        mode="markers",
        marker={"size": 5, "color": frame.labels},
        customdata=frame.ids,
    )
    figure = go.Figure(points)
    figure.update_layout(title=f"step {frame.step}", dragmode="lasso", uirevision="constant", height=560)
    config = {"scrollZoom": True}
    st.plotly_chart(figure, key="map", on_select="rerun", selection_mode=("lasso",), theme=None, config=config)


main()
