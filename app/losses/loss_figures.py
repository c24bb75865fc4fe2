"""The pictures of a loss, made from the tables of curves.py in the look of figures.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.losses.curves import Circle, Curve, Margin, Shares
from app.losses.pair_weights import PairWeights
from app.shared.figures import INK, SERIES, base_figure, escape_html, fade_colour

GROUND = {"light": "#f3f5f8", "dark": "#1a212b"}  # the quiet end of a colour scale
STRONG = {"light": "#00304f", "dark": "#d9f0ff"}  # its loud end, past blue
VEIL = {"light": "rgba(255,255,255,0.8)", "dark": "rgba(16,21,28,0.8)"}  # behind words that lie on a curve


def penalty_figure(
    curve: Curve, usual: Curve | None, margin: Margin, still: tuple[float, str], theme: str
) -> go.Figure:
    """Loss above, its slope below, against the angle that moves; the margin shaded, `still` the angle that does not.

    `usual` is the same curve at the declared defaults, dotted.
    """
    figure = base_figure(theme, 390, x="angle (degrees)", y="loss")
    paint = SERIES[theme]["blue"]
    figure.update_layout(yaxis_domain=[0.46, 1.0], showlegend=usual is not None, margin={"t": 24, "r": 16})
    figure.update_layout(yaxis2={**figure.layout.yaxis.to_plotly_json(), "title_text": "gradient (per rad)"})
    figure.update_layout(yaxis2_domain=[0.0, 0.38], xaxis_anchor="y2")
    for axis, name in (("y", "loss"), ("y2", "slope")):
        for shown, words, line in (
            (usual, "at the defaults", {"color": SERIES[theme]["grey"], "width": 1.5, "dash": "dot"}),
            (curve, "with these values", {"color": paint, "width": 2.5}),
        ):
            if shown is not None:
                figure.add_scatter(
                    x=shown.degrees,
                    y=getattr(shown, name),
                    yaxis=axis,
                    mode="lines",
                    name=words,
                    legendgroup=words,
                    showlegend=axis == "y",
                    line=line,
                    hovertemplate=f"{words} %{{y:.3g}}",
                )
    if margin.band:
        low, high = margin.band
        figure.add_vrect(low, high, fillcolor=fade_colour(SERIES[theme]["orange"], 0.18), line_width=0, layer="below")
    lowest = min((at for at, _ in margin.lines), default=0.0)
    rows = [(*still, "dot", 100)]
    rows += [(at, text, "dash", 65 if at == lowest else 115) for at, text in margin.lines]  # words outside the band
    add_vertical_lines(figure, rows, theme)
    return figure.update_xaxes(range=[0, 180], dtick=30).update_yaxes(rangemode="tozero", nticks=5)


def add_vertical_lines(figure: go.Figure, rows: Sequence[tuple[float, str, str, float]], theme: str) -> None:
    """Lines across an axis of angles: at (degrees), words on the line's right up to the angle `most`, else left."""
    for row, (at, text, dash, most) in enumerate(rows):
        figure.add_vline(at, line={"color": INK[theme], "width": 1, "dash": dash})
        figure.add_annotation(
            **text_beside_angle(at, text, left=at > most),
            bgcolor=VEIL[theme],
            y=0.99 - 0.07 * row,
            yref="paper",
            yanchor="top",
        )


def text_beside_angle(at: float, text: str, *, left: bool) -> dict[str, object]:
    """A text next to an angle (degrees) of an axis, on its left or right."""
    return {
        "x": at,
        "text": escape_html(text),
        "showarrow": False,
        "xanchor": "right" if left else "left",
        "xshift": -4 if left else 4,
        "font_size": 11,
    }


def circle_figure(circle: Circle, label: int, names: Sequence[str], colours: Sequence[str], theme: str) -> go.Figure:
    """Inside: whose side each direction is on, hatched where the margin is not met. Ring: the loss of a sample of one
    class in that direction. Stars: the proxies."""
    figure = base_figure(theme, 390, x="", y="").update_layout(hovermode="closest", margin_t=16)
    for winner, unmet, start, end in circle_arcs(circle):
        figure.add_barpolar(
            theta=[(start + end) / 2],
            width=[end - start],
            r=[0.66],
            name=f"{names[winner]}, margin not met" if unmet else f"side of {names[winner]}",
            showlegend=False,
            marker={
                "color": fade_colour(colours[winner], 0.3 if unmet else 0.7),
                "line_width": 0,
                "pattern": {"shape": "/" if unmet else "", "fgcolor": INK[theme], "size": 6, "solidity": 0.15},
            },
            hovertemplate="%{fullData.name}<extra></extra>",
        )
    loss = circle.losses[:, label]
    paint = {
        "color": loss,
        "colorscale": [[0.0, GROUND[theme]], [1.0, INK[theme]]],
        "cmin": min(0.0, float(loss.min())),
        "cmax": max(float(loss.max()), 1e-6),
    }
    figure.add_barpolar(
        theta=circle.directions,
        width=float(circle.directions[1] - circle.directions[0]),
        base=0.7,
        r=np.full(len(loss), 0.24),
        showlegend=False,
        marker={
            **paint,
            "line": {**paint, "width": 1},
            "colorbar": {
                "orientation": "h",
                "thickness": 8,
                "len": 0.8,
                "y": -0.02,
                "yanchor": "top",
                "outlinewidth": 0,
                "title": {
                    "text": f"loss of a sample of {escape_html(names[label])}",
                    "side": "bottom",
                    "font_size": 12,
                },
                "nticks": 5,
            },
        },
        customdata=loss,
        hovertemplate="loss %{customdata:.3g}<extra></extra>",
    )
    figure.add_scatterpolar(
        theta=circle.proxies,
        r=np.full(len(circle.proxies), 1.08),
        mode="markers",
        showlegend=False,
        marker={"symbol": "star", "size": 15, "color": list(colours), "line": {"color": INK[theme], "width": 1}},
        hoverinfo="skip",
    )
    figure.add_scatterpolar(
        theta=circle.proxies,
        r=np.full(len(circle.proxies), 1.27),
        mode="text",
        text=[escape_html(name) for name in names],
        textfont_size=14,
        showlegend=False,
        hoverinfo="skip",
    )
    hidden = {"visible": False, "showline": False}
    return figure.update_layout(
        polar={
            "bgcolor": "rgba(0,0,0,0)",
            "radialaxis": {**hidden, "range": [0, 1.35]},
            "angularaxis": hidden,
            "barmode": "overlay",
            "bargap": 0,
        }
    )


def circle_arcs(circle: Circle) -> list[tuple[int, bool, float, float]]:
    """Runs of directions with one winner and one answer to whether the margin is met: winner, unmet, start, end."""
    half = float(circle.directions[1] - circle.directions[0]) / 2
    found: list[tuple[int, bool, float, float]] = []
    for at, winner, unmet in zip(circle.directions, circle.winners, circle.unmet, strict=True):
        start = found.pop()[2] if found and found[-1][:2] == (winner, unmet) else at - half
        found.append((int(winner), bool(unmet), float(start), float(at + half)))
    return found


def plane_figure(
    degrees: np.ndarray, values: np.ndarray, most: float, here: tuple[float, float], words: str, theme: str
) -> go.Figure:
    """A quantity over the angles of a positive (across) and a negative pair (up), on a scale that ends at `most`;
    dotted lines cross `here`."""
    figure = base_figure(theme, 330, x="angle to the positive (degrees)", y="angle to the negative (degrees)")
    low, step = min(0.0, float(values.min())), level_step(most)
    figure.add_contour(
        x=degrees,
        y=degrees,
        z=values,
        colorscale=[[0.0, GROUND[theme]], [0.5, SERIES[theme]["blue"]], [1.0, STRONG[theme]]],
        zmin=low,
        zmax=most,
        contours={"coloring": "heatmap", "start": step, "end": most, "size": step},
        line={"color": fade_colour(INK[theme], 0.45), "width": 1},
        colorbar={"thickness": 8, "outlinewidth": 0, "nticks": 5, "title": {"text": words, "side": "right"}},
        hovertemplate=f"positive %{{x}} deg, negative %{{y}} deg: %{{z:.3g}} {words}<extra></extra>",
    )
    line = {"color": SERIES[theme]["orange"], "width": 1.5, "dash": "dot"}
    figure.add_vline(here[0], line=line).add_hline(here[1], line=line)
    figure.update_layout(hovermode="closest")
    ends = [float(degrees[0]), float(degrees[-1])]
    return figure.update_xaxes(range=ends, dtick=30).update_yaxes(range=ends, dtick=30)


def level_step(most: float) -> float:
    """The 1, 2 or 5 times a power of ten that makes about five steps up to `most`."""
    power = 10.0 ** math.floor(math.log10(most / 5))
    return min((power, 2 * power, 5 * power, 10 * power), key=lambda step: abs(math.log(most / 5 / step)))


def shares_figure(shares: Shares, theme: str) -> go.Figure:
    """Each positive's share of the pull and each negative's share of the push, against its angle."""
    figure = base_figure(theme, 250, x="angle to the anchor (degrees)", y="share")
    for values, name, colour, symbol, dash in (
        (shares.pull, "positives, pulled in", "blue", "circle", "solid"),
        (shares.push, "negatives, pushed away", "orange", "x", "dot"),
    ):
        figure.add_scatter(
            x=shares.degrees,
            y=values,
            mode="lines+markers",
            name=name,
            line={"color": SERIES[theme][colour], "width": 2, "dash": dash},
            marker={"symbol": symbol, "size": 8},
            hovertemplate="%{y:.1%}",
        )
    return figure.update_xaxes(range=[0, 180], dtick=30).update_yaxes(tickformat=".0%", rangemode="tozero")


def weights_figure(weights: PairWeights, theme: str) -> go.Figure:
    """Each pair's share of all weight against its angle, positives and negatives apart, those let alone faint; margins
    as lines, with room for their words above the points."""
    figure = base_figure(theme, 330, x="angle between the two (degrees)", y="share of all weight")
    for positive, name, colour, symbol in (
        (False, "negative pairs, pushed away", "orange", "x"),
        (True, "positive pairs, pulled in", "blue", "circle"),
    ):
        side = weights.positive == positive
        named = False
        for shown, opacity in ((side & weights.moved, 0.8), (side & ~weights.moved, 0.25)):
            if not shown.any():
                continue
            figure.add_scatter(
                x=weights.degrees[shown],
                y=weights.share[shown],
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=not named,
                marker={"symbol": symbol, "size": 7, "color": SERIES[theme][colour], "opacity": opacity},
                customdata=np.cos(np.radians(weights.degrees[shown])),
                hovertemplate="%{x:.0f} degrees, cosine %{customdata:.2f}<br>%{y:.2%} of all weight",
            )
            named = True
    add_vertical_lines(figure, [(at, text, "dash", 115) for at, text in sorted(weights.lines)], theme)
    low, high = min(0.0, float(weights.share.min())), float(weights.share.max()) or 1.0
    room = high - low
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(range=[low - 0.05 * room, high + (0.06 + 0.1 * len(weights.lines)) * room])
    return figure.update_xaxes(range=[0, 180], dtick=30).update_yaxes(tickformat=".2~%", nticks=6)
