"""The parts of the Lab's picture, each drawn from what has been read: map, metrics, angles, retrieval, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app.lab import retrieval
from app.lab.angle_words import angle_words, place_lines
from app.lab.margin_wedges import margin_wedges
from app.lab.snapshots import METHODS, TRUE2, TRUE3, Picture, WatchSample
from app.lab.verdict import judge_run
from app.lab.workbench import MAP_PANEL
from app.shared import figures
from app.shared.palette import class_colours
from app.shared.stored_widgets import stored_selectbox
from app.shared.text import (
    BACKBONE_ALONE,
    UNCHANGED,
    UNTRAINED,
    count,
    escape_markdown,
    format_share,
    look_up_words,
    metric_change,
    metric_value,
)
from app.shared.theme import current_theme
from app.shared.view import View, ViewChanges
from app.widgets.chart import chart
from app.widgets.map import MapEvents, MapFrame, live_map
from app.widgets.tiles import Row, Tile, image_tiles
from mlcore.evaluation.metrics import METRICS, PRIMARY, Family, Metric
from mlcore.margins import AngleKind
from mlcore.runs.history import FrozenHistory, is_idle
from mlcore.runs.records import SIDES, Atlas, EvaluatedRecord, MarginLineRecord, SideName, StepRecord

MAP_NAMES = {TRUE2: "head", TRUE3: "head"}
ANGLE_CHOICES: dict[tuple[SideName, AngleKind], str] = {
    ("train", "proxies"): "Training, proxies",
    ("held_out", "proxies"): "Held out, proxies",
    ("held_out", "pairs"): "Held out, pairs",
    ("train", "pairs"): "Training, pairs",
}
LASSO_SHOWN = 60
MAP_HEIGHT = 440  # where the map has no place of its own on the screen, as on a phone
StepNumber = Literal["loss", "parts", "grad_norm", "learning_rates", "tuples", "images_per_s", "memory_mb"]
CURVES: dict[StepNumber, str] = {
    "loss": "Training loss",
    "parts": "Parts of the loss",
    "grad_norm": "Gradient norm",
    "learning_rates": "Learning rates",
    "tuples": "Tuples per batch",
    "images_per_s": "Images per second",
    "memory_mb": "Memory (MB)",
}
CURVE = "lab.curve.wanted"  # by the chart's place
SMOOTHED = ("loss", "grad_norm", "tuples")


def map_panel(
    run_id: str,
    sample: WatchSample,
    picture: Picture,
    arrays: dict[str, np.ndarray],
    atlas: Atlas | None,
    view: View,
    margins: Sequence[MarginLineRecord] = (),
    *,
    title: str,
) -> MapEvents:
    """The live map with what is selected, picked and its neighbours lit.

    `margins` as an evaluation stores them; `title` stands above the map where it is saved.
    """
    place = sample.place(view.picked)
    neighbours: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    if place is not None:
        found = arrays["neighbours"][place]
        kept = found[found >= 0]
        neighbours = tuple(int(sample.ids[other]) for other in kept)
        cosines = arrays["similarities"][place][: len(kept)]
        notes = tuple(f"rank {rank}, cosine {cosine:.2f}" for rank, cosine in enumerate(cosines, start=1))
    shade = current_theme()
    wedges = None
    if picture.method == TRUE2 and picture.proxies is not None:
        wedges = margin_wedges(picture.proxies, margins)
    frame = MapFrame(
        run=run_id,
        step=picture.step,
        method=MAP_NAMES.get(picture.method, METHODS[picture.method]),
        dims=picture.dims,
        positions=np.ascontiguousarray(picture.points, dtype=np.float32),
        ids=sample.ids,
        labels=sample.labels,
        held_out=sample.held_out,
        class_names=sample.class_names,
        colours=tuple(class_colours(sample.class_names, shade)),
        total=sample.total,
        proxies=picture.proxies,
        proxy_labels=picture.proxy_labels,
        wedges=wedges,
        atlas_key=atlas["key"] if atlas else None,
        tile=atlas["tile"] if atlas else None,
        columns=atlas["columns"] if atlas else None,
        selected=view.lasso,
        hidden_classes=tuple(label for label in view.hidden if label < len(sample.class_names)),
        neighbours=neighbours,
        neighbour_notes=notes,
        picked=view.picked if place is not None else None,
        faith=picture.faith,
        message=picture.message or wedge_words(wedges),
        title=title,
        panel=MAP_PANEL,
        theme=shade,
    )
    return live_map(frame, key="lab.map", height=MAP_HEIGHT)


def wedge_words(wedges: np.ndarray | None) -> str:
    """What the wedges of a map are, "" where there are none to speak of."""
    if wedges is None:
        return ""
    words, missing = "wedge: where the margin is met", int((wedges == 0.0).all(axis=1).sum())
    return f"{words}; {count(missing, 'star')} without one: another is too near" if missing else words


def metrics_panel(history: FrozenHistory, shown: EvaluatedRecord | None) -> None:
    """The headline metrics of the shown step with their change since step 0."""
    first = history.evaluations[0] if history.evaluations else None
    now = shown or first
    with st.container(key="lab.metrics", horizontal=True, gap="small"):
        for metric in headline_metrics(now):
            value = now["held_out"].get(metric.key) if now else None
            start = first["held_out"].get(metric.key) if first else None
            change = metric_change(metric, value, start) if now is not first else ""
            delta = change.replace("−", "-")  # which turns the arrow
            plainly = delta in ("", UNCHANGED)
            st.metric(
                metric.title,
                metric_value(metric, value),
                delta or None,
                help=metric_help(now, metric),
                delta_arrow="off" if plainly else "auto",
                delta_color="off" if plainly else "normal" if metric.higher_is_better else "inverse",
                width="stretch",
            )
    with st.container(key="lab.before"):
        st.caption(before_words(first))


def headline_metrics(now: EvaluatedRecord | None) -> list[Metric]:
    """The metrics that have a tile: those that the run has measured, or all before it has measured any."""
    return [metric for metric in METRICS.values() if metric.headline and (not now or metric.key in now["held_out"])]


def before_words(first: EvaluatedRecord | None) -> str:
    """Which two values there are of the time before training; "" where they are one, as without a head."""
    start = first["held_out"].get(PRIMARY) if first else None
    alone = (first.get("backbone") or {}).get(PRIMARY) if first else None
    if start is None or alone is None or format_share(start) == format_share(alone):
        return ""
    return (
        f"{METRICS[PRIMARY].title} before training: {format_share(start)} for {UNTRAINED} (step 0), "
        f"{format_share(alone)} for {BACKBONE_ALONE}."
    )


def curve_panel(history: FrozenHistory, total: int, shown: int | None, place: str, usual: str) -> None:
    """A number of every step, or a metric of every evaluation, in the chart of this `place`; `usual` until another is
    chosen. What the run has not measured yet has its empty chart, so that nothing moves when it comes."""
    titles = curve_titles(history)
    wanted = (st.session_state.get(f"{CURVE}.{place}"), usual, *titles)
    shown_now = next(name for name in wanted if name in titles)
    with st.container(key=f"lab.curve.panel.{place}", gap="small"):
        name = stored_selectbox(
            f"lab.curve.{place}",
            "Curve",
            list(titles),
            shown_now,
            words=look_up_words(titles),
            label_visibility="collapsed",
        )
        if name != shown_now:
            st.session_state[f"{CURVE}.{place}"] = name
        if name in METRICS:
            figure = figures.metric_figure(history.evaluations, METRICS[name], total, shown, current_theme())
            alt = f"{titles[name]} by step, held out and training"
        else:
            number = next(known for known in CURVES if known == name)
            figure, alt = step_curve(history.steps, number, total), f"{titles[name]} by step"
        chart(figure, key=f"lab.curve.chart.{place}", alt=alt, fill=True)


def curve_titles(history: FrozenHistory) -> dict[str, str]:
    """The curves that can be drawn, by name: the loss, what steps tell, and what the run is measured by."""
    last = history.steps[-1] if history.steps else None
    titles: dict[str, str] = {
        name: title for name, title in CURVES.items() if name == "loss" or (last and last.get(name) not in (None, {}))
    }
    measured = {
        metric.key
        for evaluation in history.evaluations
        for metric in METRICS.values()
        if any(evaluation[side].get(metric.key) is not None for side in SIDES)
    }
    if not measured:
        measured = {metric.key for metric in headline_metrics(None)}
    return titles | {key: metric.title for key, metric in METRICS.items() if key in measured}


def step_curve(steps: Sequence[StepRecord], name: StepNumber, total: int) -> go.Figure:
    """A number of every step, or several of one kind under their names."""
    if name == "learning_rates" or name == "parts":
        series = {part: [step.get(name, {}).get(part) for step in steps] for part in steps[-1][name]}
    else:
        series = {CURVES[name]: [step[name] for step in steps]}
    at = [step["step"] for step in steps]
    return figures.step_figure(at, series, total, current_theme(), smooth=name in SMOOTHED)


def metric_help(now: EvaluatedRecord | None, metric: Metric) -> str:
    """What the metric of a tile is, and all the metrics of this evaluation, for whom the tiles are too few."""
    if now is None:
        return metric.description
    held = now["held_out"]
    number = held.get("queries")
    asked = f"On all{f' {number:,}' if number is not None else ''} held-out images, each searched among the others."
    lines = [metric.description, asked]
    for other in METRICS.in_order(held):
        if held[other.key] is None and (other.expensive or other.family == Family.TEXTS):
            continue  # only the first and the last evaluation have them, or none
        values = [metric_value(other, now[side].get(other.key)) for side in SIDES]
        lines.append(f"{escape_markdown(other.title, 60)}: held out {values[0]}, training {values[1]}")
    return "  \n".join(lines)


def angles_panel(
    now: EvaluatedRecord | None,
    evaluations: Sequence[EvaluatedRecord],
    lines: list[MarginLineRecord] | None,
    asked: str | None,
    key: str,
) -> ViewChanges:
    """The distributions of angles with the loss's margin drawn in; `lines` as an evaluation stores them.

    `evaluations`: all of the run, the first of which is before training. `asked`: which angles the view asks for.
    Returns what the person changes of the view.
    """
    if now is None:
        figure = figures.angle_figure(None, None, "pairs", [], current_theme())
        chart(figure, key=f"{key}.figure", alt="Angles: not measured yet", fill=True)
        return {}
    offered = [pair for pair in ANGLE_CHOICES if has_angles(now, *pair)]
    lines = lines if lines is not None else now.get("margin_lines", [])
    wanted = next(
        (pair for pair in offered if any(line["between"] == pair[1] for line in lines)), offered[0] if offered else None
    )
    if wanted is None:
        st.caption("There are no pairs to measure angles of.")
        return {}
    wanted = next((pair for pair in offered if "-".join(pair) == asked), wanted)
    chosen: tuple[SideName, AngleKind] = stored_selectbox(
        f"{key}.which", "Angles", offered, wanted, words=lambda pair: ANGLE_CHOICES[pair], label_visibility="collapsed"
    )
    side, which = chosen
    angles = now["angles"][side]
    ghost = evaluations[0]["angles"][side] if evaluations and evaluations[0]["step"] != now["step"] else None
    others = [evaluation["angles"][side] for evaluation in evaluations]
    chart(
        figures.angle_figure(angles, ghost, which, place_lines(angles, which, lines), current_theme(), others),
        key=f"{key}.figure",
        alt=f"Angles: {ANGLE_CHOICES[side, which]}",
        fill=True,
    )
    sample = "" if angles["samples"] == angles["of"] else f" From {angles['samples']:,} of {angles['of']:,} images."
    dotted = f" Dotted: {UNTRAINED} (step 0)." if ghost else ""
    st.caption(f"{angle_words(angles, which, lines)}{dotted}{sample}")
    return {"angles": "-".join(chosen)} if chosen != wanted else {}


def has_angles(now: EvaluatedRecord, side: SideName, which: AngleKind) -> bool:
    angles = now["angles"][side]
    if which == "proxies":
        return bool(angles.get("own_proxy"))
    return bool(angles.get("positive_pairs") and angles.get("negative_pairs"))


def retrieval_panel(
    sample: WatchSample,
    now: dict[str, np.ndarray],
    before: dict[str, np.ndarray] | None,
    start: dict[str, np.ndarray],
    atlas_key: str,
    view: View,
    selected: tuple[int, ...],
    title: str,
) -> int | None:
    """Queries with their nearest images before training and, under `title`, now; returns the image that was pressed."""
    chosen = view.pins if view.queries == "pinned" else selected
    places = retrieval.query_places(sample, start["neighbours"], view.queries, view.side, chosen, seed=0)
    empty = {
        "pinned": "Nothing is pinned. Pick an image in the map, then pin it.",
        "selected": "Nothing is selected. Draw a lasso in the map (press L).",
    }.get(view.queries, "There is nothing to search for.")
    rows = retrieval.result_rows(sample, places, now, before, title)
    return image_tiles(rows, atlas_key=atlas_key, key="lab.retrieval", size=40, selected=selected, empty=empty)


def lasso_panel(sample: WatchSample, view: View, atlas_key: str) -> int | None:
    """The images inside the lasso, the most frequent class first."""
    places = [place for sample_id in view.lasso if (place := sample.place(sample_id)) is not None]
    if not places:
        return None
    labels, counts = np.unique(sample.labels[places], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    words = ", ".join(f"{escape_markdown(sample.class_names[labels[i]])}: {counts[i]}" for i in order[:6])
    more = f" and {count(len(order) - 6, 'more class', 'more classes')}" if len(order) > 6 else ""
    unlinked = "" if view.lasso_fits_link() else " A link to this page leaves the selection out: it is too large."
    st.caption(f"{count(len(places), 'image')} selected: {words}{more}.{unlinked}")
    ranked = sorted(places, key=lambda place: (-counts[labels == sample.labels[place]][0], place))[:LASSO_SHOWN]
    tiles = tuple(
        Tile(int(sample.ids[place]), place, "none", sample.class_names[sample.labels[place]]) for place in ranked
    )
    note = f"the first {LASSO_SHOWN}" if len(places) > LASSO_SHOWN else ""
    return image_tiles([Row("Selected", note, tiles)], atlas_key=atlas_key, key="lab.lasso", size=40)


def verdict_panel(history: FrozenHistory, *, frozen: bool, unseen_classes: bool) -> None:
    if len(history.evaluations) < 2:
        return
    idle = is_idle(history.messages)
    found = judge_run(history.evaluations, frozen=frozen, unseen_classes=unseen_classes, idle=idle)
    if found is None:
        if history.evaluations[-1]["held_out"].get(PRIMARY) is None:
            st.info("There is no verdict: held-out images could not be measured; see why above.")
        return
    colour = "orange" if found.harm or idle else "green"
    st.markdown(f":{colour}[:material/gavel:] {found.sentence}")
    if found.harm:
        st.warning(found.harm, icon=":material/warning:")
