"""A Plotly figure that is updated in place: `st.plotly_chart` is a new chart whenever its data changes, so it flickers,
and zoom and hover are lost. This one keeps its place, its zoom and what is hidden in its legend.

The plotly.js that is drawn with is the one inside the plotly package, which the lab's own server hands out once (see
app/assets.py); nothing comes from the network.
"""

from __future__ import annotations

import json
from pathlib import Path

import plotly.graph_objects as go

from app.assets import PLOTLY_PATH
from app.widgets.bundle import BundledComponent

_HERE = Path(__file__).parent
CHART = BundledComponent("lab_chart", [_HERE / "chart.js"], _HERE / "chart.css", isolate=False)


def chart(figure: go.Figure, *, key: str, alt: str, fill: bool = False) -> None:
    """Draw `figure` in the chart `key`, or change the one that is there; `alt` says in words what it shows.

    Its height is the figure's own; with `fill` it is that of the box round it, and at least the CSS length
    `--lab-chart-least`, where one is set. The same figure gives the same message, and nothing is drawn again.
    """
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)
    CHART(
        key=key, data={"figure": spec, "alt": alt, "name": key.replace(".", "-"), "fill": fill, "plotly": PLOTLY_PATH}
    )
