"""Tables to Plotly figures: the one look of the app. The same data gives the same figure, byte for byte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from app.shared.palette import GROUNDS
from app.shared.text import BACKBONE_ALONE, UNTRAINED, metric_value
from mlcore.evaluation.metrics import Metric
from mlcore.runs.records import Angles, EvaluatedRecord

INK = {"light": "#1b2430", "dark": "#e6ebf2"}
FAINT = {"light": "rgba(27,36,48,0.12)", "dark": "rgba(230,235,242,0.14)"}
SERIES = {  # Okabe-Ito, the darker ones lifted on a dark ground
    "light": {"blue": "#0072b2", "orange": "#d55e00", "green": "#00815f", "pink": "#b3578b", "grey": "#6b7684"},
    "dark": {"blue": "#56b4e9", "orange": "#f28e4c", "green": "#2ec596", "pink": "#e3a3c6", "grey": "#94a0ae"},
}
LEGEND_ROOM = 24  # pixels above the axes
DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
ANGLE_KINDS = {
    "proxies": (("own_proxy", "own proxy", "blue"), ("nearest_other_proxy", "nearest other proxy", "orange")),
    "pairs": (("positive_pairs", "same class", "blue"), ("negative_pairs", "different classes", "orange")),
}


def base_figure(theme: str, height: int, *, x: str, y: str) -> go.Figure:
    """An empty figure with our margins, faint grid, and units on both axes."""
    axis = {"gridcolor": FAINT[theme], "zeroline": False, "linecolor": FAINT[theme], "title_standoff": 6}
    return go.Figure().update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK[theme], "size": 12},
        xaxis={**axis, "title_text": x, "automargin": True},
        yaxis={**axis, "title_text": y, "automargin": True},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left", "font_size": 11},
        hovermode="x unified",
        hoverlabel={"bgcolor": GROUNDS[theme], "bordercolor": FAINT[theme], "font_color": INK[theme]},
        modebar={"bgcolor": GROUNDS[theme], "color": INK[theme], "activecolor": INK[theme]},  # it may cover the legend
        dragmode="zoom",
        uirevision="keep",
    )


def local_average(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """At each of the places the mean of the finite values around it, as many on either side; NaN where there are none.

    It neither lags nor leads: towards the ends fewer values are taken, the first and the last value stand alone.
    """
    widest, smoothed = max(2, len(values) // 75), np.full(len(places), math.nan)
    for row, place in enumerate(places):
        reach = min(widest, place, len(values) - 1 - place)
        around = values[place - reach : place + reach + 1]
        finite = around[np.isfinite(around)]
        if len(finite):
            smoothed[row] = finite.mean()
    return smoothed


def thin_places(count: int, most: int = 200) -> np.ndarray:
    """Places of at most `most` of `count` values, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.zeros(0, int)


def step_figure(
    steps: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    total: int,
    theme: str,
    *,
    smooth: bool = False,
) -> go.Figure:
    """One value of every step, or several under their names, over the whole length of the run.

    `smooth`: a local average, with the values themselves faint behind it.
    """
    figure = base_figure(theme, 140, x="step", y="")
    at = np.asarray(steps, dtype=np.int32)
    places = thin_places(len(at))
    for (name, measured), colour, dash in zip(series.items(), SERIES[theme].values(), DASHES, strict=False):
        values = np.array([math.nan if value is None else value for value in measured], dtype=float)
        shown = values[places]
        for drawn, width, opacity in (
            ((shown, 1, 0.35), (local_average(values, places), 2, 1.0)) if smooth else ((shown, 2, 1.0),)
        ):
            figure.add_scatter(
                x=at[places],
                y=drawn.astype(np.float32),
                mode="lines",
                line={"color": colour, "width": width, "dash": dash},
                opacity=opacity,
                name=escape_html(name),
                showlegend=len(series) > 1,
                **({"hovertemplate": "%{y:.4g}"} if opacity == 1.0 else {"hoverinfo": "skip"}),
            )
    return figure.update_xaxes(range=[0, max(1, total)])


def metric_figure(
    evaluations: Sequence[EvaluatedRecord], metric: Metric, total: int, shown: int | None, theme: str
) -> go.Figure:
    """A metric over the run on both sides, with lines at what it was before (`UNTRAINED`, `BACKBONE_ALONE`)."""
    figure = base_figure(theme, 165, x="step", y=escape_html(metric.short)).update_layout(margin_t=LEGEND_ROOM)
    colours, key, hover = SERIES[theme], metric.key, "%{y:.3f}" if metric.is_share else "%{y:.4g}"
    lowest = 0.0
    steps = [evaluation["step"] for evaluation in evaluations]
    for name, sides, colour, dash in (
        ("held out", [evaluation["held_out"] for evaluation in evaluations], colours["blue"], "solid"),
        ("training", [evaluation["train"] for evaluation in evaluations], colours["orange"], "dot"),
    ):
        points = [(step, side[key]) for step, side in zip(steps, sides, strict=True) if side.get(key) is not None]
        if points:
            at, values = zip(*points, strict=True)
            lowest = min(lowest, *values)
            figure.add_scatter(
                x=at,
                y=values,
                mode="lines+markers",
                name=name,
                hovertemplate=hover,
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 5},
            )
    first = evaluations[0] if evaluations else None
    before = first["held_out"].get(key) if first else None
    raw = (first.get("backbone") or {}).get(key) if first else None
    levels = [(UNTRAINED, before, "dash"), (BACKBONE_ALONE, None if raw == before else raw, "dot")]
    known = [(name, value, dash) for name, value, dash in levels if value is not None]
    for name, value, dash in known:
        is_lower = value < max(level for _, level, _ in known)
        has_room_below = is_lower and value > ROOM_BELOW
        figure.add_hline(
            y=value,
            line={"color": colours["grey"], "width": 1, "dash": dash},
            annotation={"text": f"{name.removeprefix('the ')} {metric_value(metric, value)}", "font_size": 11},
            annotation_position="bottom right" if has_room_below else "top left" if is_lower else "top right",
        )
    if shown is not None:
        figure.add_vline(x=shown, line={"color": FAINT[theme], "width": 2})
    return figure.update_xaxes(range=[-0.02 * max(1, total), 1.02 * max(1, total)]).update_yaxes(
        **({"range": [1.02 * lowest, 1.02]} if metric.is_share else {"rangemode": "tozero"})
    )


def angle_figure(
    now: Angles | None,
    before: Angles | None,
    which: str,
    lines: Sequence[tuple[float, str]],
    theme: str,
    others: Sequence[Angles] = (),
) -> go.Figure:
    """Two distributions of angles, each as a share of its pairs, with the loss's margin as lines (radians, text).

    `before` is drawn as a faint outline of the same two, so that one sees what moved. The axis ends at whole 30 degrees
    around all of it and of the `others`, which are those of the run's other steps. `now` None: empty axes.
    """
    figure = base_figure(
        theme, 220, x="angle (degrees)", y={"pairs": "share of pairs", "proxies": "share of images"}[which]
    ).update_layout(margin_t=LEGEND_ROOM)
    for key, name, colour in ANGLE_KINDS[which]:
        counts = angle_histogram(now, key)
        if counts is None:
            continue
        degrees = (np.arange(len(counts)) + 0.5) * 180.0 / len(counts)
        shares = counts / max(1.0, counts.sum())
        paint = SERIES[theme][colour]
        fill = {"blue": "tozeroy", "orange": "tozeroy"}[colour]
        figure.add_scatter(
            x=degrees,
            y=shares,
            mode="lines",
            name=name,
            fill=fill,
            hovertemplate="%{y:.1%}",
            line={"color": paint, "width": 2, "shape": "hvh"},
            fillcolor=fade_colour(paint, 0.22),
        )
        ghost = angle_histogram(before, key) if before else None
        if ghost is not None:
            figure.add_scatter(
                x=degrees,
                y=ghost / max(1.0, ghost.sum()),
                mode="lines",
                name=f"{name}, before",
                line={"color": paint, "width": 1, "dash": "dot", "shape": "hvh"},
                hoverinfo="skip",
                showlegend=False,
            )
    low, high = angle_range((now, before, *others), which, [angle for angle, _ in lines])
    for place, (angle, text) in enumerate(lines):
        figure.add_vline(x=math.degrees(angle), line={"color": INK[theme], "width": 2, "dash": "dash"})
        figure.add_annotation(
            x=math.degrees(angle),
            y=1 - 0.13 * place,
            yref="paper",
            text=escape_html(text),
            showarrow=False,
            xanchor="left" if 2 * math.degrees(angle) < low + high else "right",
            xshift=4 if 2 * math.degrees(angle) < low + high else -4,
            font_size=11,
        )
    return figure.update_xaxes(range=[low, high], dtick=30 if high - low > 60 else 10).update_yaxes(
        tickformat=".0%", rangemode="tozero"
    )


def angle_range(drawn: Sequence[Angles | None], which: str, lines: Sequence[float]) -> tuple[int, int]:
    """Degrees from which to which the axis goes: all that is drawn, with a little room, out to whole 30 degrees."""
    edges = [math.degrees(angle) for angle in lines]
    for angles in drawn:
        for key, _, _ in ANGLE_KINDS[which]:
            counts = angle_histogram(angles, key)
            if counts is not None:
                filled = np.flatnonzero(counts)
                edges += [filled[0] * 180.0 / len(counts), (filled[-1] + 1) * 180.0 / len(counts)]
    if not edges:
        return 0, 180
    low = 30 * math.floor(max(0.0, min(edges) - ROOM) / 30)
    return low, 30 * math.ceil(min(180.0, max(edges) + ROOM) / 30)


def angle_histogram(angles: Angles | None, key: str) -> np.ndarray | None:
    """Counts over 0..180 degrees, or None where there is no such kind of pair."""
    record = angles.get(key) if angles else None
    if not record:
        return None
    counts = np.asarray(record["counts"] if isinstance(record, dict) else record, dtype=float)
    return counts if counts.sum() else None


def fade_colour(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def escape_html(text: str) -> str:
    """Plotly reads a little HTML in its texts; names from outside are never markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def count_figure(counts: Sequence[int], theme: str) -> go.Figure:
    """How many images each class has, the largest class first: bars, or one outline where there are too many."""
    figure = base_figure(theme, 120, x="class", y="images")
    figure.update_layout(showlegend=False, hovermode="x", bargap=0.1)
    figure.update_yaxes(rangemode="tozero")
    colour, heights = SERIES[theme]["blue"], np.asarray(counts, dtype=np.int32)
    if len(counts) <= MOST_BARS:
        return figure.add_bar(x=np.arange(1, len(counts) + 1, dtype=np.int32), y=heights, marker={"color": colour})
    places = thin_places(len(counts), MOST_BARS)
    line = {"color": colour, "width": 2, "shape": "hv"}
    return figure.add_scatter(x=(places + 1).astype(np.int32), y=heights[places], fill="tozeroy", line=line)


MOST_BARS = 200
ROOM_BELOW = 0.25  # of a metric's axis, for a line's name under it
ROOM = 2.0  # degrees that stay free at both ends of an axis of angles
