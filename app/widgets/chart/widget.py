"""A Plotly figure that is updated in place: `st.plotly_chart` is a new chart whenever its data changes, so it flickers,
and zoom and hover are lost. This one keeps its place, its zoom and what is hidden in its legend.

The plotly.js that is drawn with is the one inside the plotly package; nothing comes from the network.
"""

from __future__ import annotations

import json
from pathlib import Path

import plotly
import plotly.graph_objects as go

from app.widgets.bundle import BundledComponent

_HERE = Path(__file__).parent
_PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
CHART = BundledComponent("lab_chart", [_PLOTLY, _HERE / "chart.js"], _HERE / "chart.css", isolate=False)


def chart(figure: go.Figure, *, key: str, alt: str) -> None:
    """Draw `figure` in the chart `key`, or change the one that is there; `alt` says in words what it shows.

    Its height is the figure's own. The same figure gives the same message, and nothing is drawn again.
    """
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)
    CHART(key=key, data={"figure": spec, "alt": alt, "name": key.replace(".", "-")})
