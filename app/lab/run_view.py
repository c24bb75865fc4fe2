"""The fragment that follows a run: reads what is new, shows one step of it, and lets the person move in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from app.lab import panels
from app.lab.failures import failures_panel
from app.lab.launch import session_name
from app.lab.retrieval import picked_row
from app.lab.run_header import show_problem, status_bar
from app.lab.side_choice import side_choice
from app.lab.snapshots import (
    METHODS,
    UMAP,
    WatchSample,
    evaluation_at,
    find_picture,
    live_step,
    methods_for,
    nearest_step,
    read_nearest_snapshot,
    read_watch_sample,
)
from app.lab.verdict import progress_sentence
from app.lab.word_search import words_panel
from app.lab.workbench import draw_workbench
from app.server import LabServer, read_history
from app.shared.datasets import image_sets
from app.shared.error_guard import guard_errors
from app.shared.rerun import rerun_fragment
from app.shared.stored_widgets import act_button, stored_segments
from app.shared.text import escape_markdown, look_up_words
from app.shared.view import PLAYING, Below, Queries, View, ViewChanges
from app.widgets.map import MapEvents
from app.widgets.scrubber import ScrubberEvent, scrubber
from app.widgets.tiles import atlas_carrier, image_tiles
from app.widgets.tiles.atlas import StoredAtlas
from mlcore.catalogue import registry
from mlcore.evaluation.metrics import PRIMARY
from mlcore.runs.folder import RunFolder
from mlcore.runs.history import FrozenHistory
from mlcore.runs.previews import find_preview
from mlcore.runs.records import Atlas, MarginLineRecord
from mlcore.runs.states import RunState
from mlcore.runs.status import Label, RunRecord
from mlcore.spec.defaults import reads_texts
from mlcore.spec.run_spec import RunSpec
from mlcore.traits import BackboneTrait

TICK_S = 0.5
IDLE_TICK_S = 5.0
BELOW_HEIGHT = 150
BROKEN = ":material/broken_image:"


@dataclass(frozen=True)
class Plan:
    """What the untrained preview shows of the run that would be started: its margin lines and its length in steps."""

    margin_lines: list[MarginLineRecord]
    steps: int


def show_run(stage: LabServer, run: RunFolder, asked: str | None, plan: Plan | None = None) -> None:
    """Show a run, live while anything about it may change, until the view asks for another than `asked`.

    `plan`: what is planned where the run is only a preview. Raises: ValueError with a sentence for a run whose
    spec is damaged or of a newer version.
    """
    record = run.record
    holder = atlas_holder(stage, run)
    atlas = holder.atlas()
    with st.container():
        if atlas is not None:
            atlas_carrier(StoredAtlas(holder.atlas_bytes(), **atlas), key="lab.atlas")
    awaited = is_awaited(run)
    draw = st.fragment(guard_errors(live_picture), run_every=TICK_S if awaited else None)
    draw(stage, run, record, asked, atlas, awaited, plan)
    if not awaited:
        st.fragment(guard_errors(rerun_when_changed), run_every=IDLE_TICK_S)(run, (run.state, run.label()))


def atlas_holder(stage: LabServer, run: RunFolder) -> RunFolder:
    """The run, or its untrained preview while the run has no images of its own yet."""
    if run.atlas() is None and not run.state.finished:
        preview = find_preview(stage.runs, run.spec)
        if preview is not None and preview.atlas() is not None:
            return preview
    return run


def picture_holder(stage: LabServer, run: RunFolder, past: FrozenHistory, view: View) -> RunFolder:
    """The run, or its untrained preview while the run has no map of its own yet: it begins as that."""
    if run.state.finished or has_map(stage, past, view):
        return run
    preview = find_preview(stage.runs, run.spec)
    if preview is None or not preview.has_watch() or not read_history(preview).snapshots:
        return run
    return preview


def has_map(stage: LabServer, past: FrozenHistory, view: View) -> bool:
    """Whether the map that is looked at can be drawn from what the run has written."""
    if not past.snapshots or not past.evaluations:
        return False
    if view.method not in (None, UMAP) or past.layouts or not stage.runs.read_helper_status("projector").get("ready"):
        return True
    _, first, _ = read_nearest_snapshot(past, 0, None)
    return methods_for(first["embeddings"].shape[1])[0] != UMAP


def rerun_when_changed(run: RunFolder, shown: tuple[RunState, Label]) -> None:
    """Draw the page again when a run that stood still goes on, is renamed or is deleted, by whomever."""
    if not run.path.exists() or (run.state, run.label()) != shown:
        st.rerun()


def preview_heading(spec: RunSpec) -> None:
    dataset = image_sets().get(spec.dataset.key)
    title = dataset.title if dataset else spec.dataset.title()
    with st.container(key="lab.head.line", horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("#### Before training", width="content", anchors=False)
        st.caption(f"{escape_markdown(title)} {way_words(spec)}", width="content")
    st.progress(0.0)
    st.caption("Set things up on the left, then press Start.")


def way_words(spec: RunSpec) -> str:
    """What makes the embeddings before training: 'through EfficientNet-Lite0, pretrained, and a new head'."""
    backbone, new_head = registry("backbones")[spec.backbone.key], spec.head.kind != "none"
    if BackboneTrait.VECTORS in backbone.traits:
        return "through a new head" if new_head else "as they are"
    knows = "pretrained" if spec.backbone.params.get("pretrained") else "untrained"
    return f"through {escape_markdown(backbone.title)}, {knows}{', and a new head' if new_head else ''}"


def is_awaited(run: RunFolder) -> bool:
    """Whether the run, or the map of its last snapshot, is still to come."""
    if not run.path.exists() or not run.state.finished:
        return True
    past = read_history(run)
    return bool(past.snapshots) and (UMAP, next(reversed(past.snapshots))) not in past.layouts


def live_picture(
    stage: LabServer,
    run: RunFolder,
    record: RunRecord,
    asked: str | None,
    atlas: Atlas | None,
    awaited: bool,
    plan: Plan | None,
) -> None:
    view = View.read()
    if view.run != asked or not run.path.exists():
        st.rerun()
    past = read_history(run)
    preview = record.purpose == "preview"
    if preview:
        stage.preview_viewers.add(session_name(), run.run_id)
        if run.state == RunState.CANCELLED:  # somebody else gave it up: ask for it again
            st.rerun()
    # Always the same containers in the same order: what comes or goes in one must not make the browser rebuild the map.
    head, trouble, body = st.container(key="lab.head", gap="small"), st.container(), st.container(key="lab.body")
    with head:
        if preview:
            preview_heading(record.spec)
        else:
            status_bar(stage, run, record.spec, past)
    with trouble:
        show_problem(stage, run, past)
    with body:
        try:
            holder = picture_holder(stage, run, past, view)
            sample = read_watch_sample(holder)
            if sample is None or not read_history(holder).snapshots:
                show_waiting(run, past, preview, plan.steps if plan else record.spec.budget.steps)
            else:
                show_step(stage, run, record.spec, past, holder, sample, atlas, view, plan)
        except ValueError as error:
            st.warning(f"The picture of this run cannot be drawn: {escape_markdown(str(error), 600)}", icon=BROKEN)
    if awaited != is_awaited(run) or (awaited and atlas != atlas_holder(stage, run).atlas()):
        st.rerun()


def show_waiting(run: RunFolder, past: FrozenHistory, preview: bool, total: int) -> None:
    """Reserved places, and what is being done. `total`: steps of the run."""
    status = run.status()
    activity = status.activity or (past.progress["text"] if past.progress else "")
    if status.state.finished:
        ended = "This run ended before its first snapshot, so there is no picture of it."
        if past.snapshots:
            ended = "The picture of this run cannot be drawn: watch.json, which names its images, is missing."
        st.info(escape_markdown(status.reason_text or ended, 600), icon=":material/info:")
        return
    words = activity or ("Looking at the images through the backbone" if preview else "Getting ready")
    bench = draw_workbench()
    with bench.map:
        st.caption(f":material/hourglass_top: {escape_markdown(words)} …")
        with st.container(key="lab.map.waits"):
            st.skeleton(height=panels.MAP_HEIGHT)
    with bench.side:
        panels.metrics_panel(past, None)
        panels.curve_panel(past, total, None, "first", "loss")
        panels.curve_panel(past, total, None, "second", PRIMARY)
        panels.angles_panel(None, (), None, None, key="lab.angles")
    with bench.below:
        st.skeleton(height=BELOW_HEIGHT)


def show_step(
    stage: LabServer,
    run: RunFolder,
    spec: RunSpec,
    past: FrozenHistory,
    holder: RunFolder,
    sample: WatchSample,
    atlas: Atlas | None,
    view: View,
    plan: Plan | None,
) -> None:
    """One step in all panels. The curves are the run's `past`, the pictures those of their `holder`."""
    drawn = past if holder is run else read_history(holder)
    steps = list(drawn.snapshots)
    total = plan.steps if plan else spec.budget.steps
    earliest, first, faults = read_nearest_snapshot(drawn, steps[0], len(sample.ids))
    methods = methods_for(first["embeddings"].shape[1])
    method = view.method if view.method in methods else methods[0]
    live = view.step is None
    wanted = live_step(drawn, method) if view.step is None else nearest_step(drawn, view.step)
    step, now, others = read_nearest_snapshot(drawn, wanted, len(sample.ids))
    told = dict.fromkeys([*faults, *others])
    if told:
        st.warning(escape_markdown(f"{' '.join(told)} Step {step} is shown.", 600), icon=BROKEN)
    picture = find_picture(drawn, step, now, method, stage.runs.read_helper_status("projector"))
    evaluation = evaluation_at(drawn, step)
    selected = view.lasso
    atlas_key = atlas["key"] if atlas else ""

    bench = draw_workbench()
    with bench.map:
        chosen = method_choice(methods, method)
        margins = evaluation.get("margin_lines", []) if evaluation else []
        heading = title_of_picture(run, plan)
        events = panels.map_panel(run.run_id, sample, picture, now, atlas, view, margins, title=heading)
        moved = scrubber(
            steps,
            total=max(spec.budget.steps, steps[-1]),
            shown=step,
            live=live,
            running=not run.state.finished,
            playing=st.session_state.get(PLAYING, False),
            key="lab.scrubber",
        )
    with bench.side:
        if not live and step != steps[-1]:
            st.caption(f"**Step {step:,}** is shown. The newest is step {steps[-1]:,}.")
        panels.metrics_panel(drawn, evaluation)
        pressed = panels.lasso_panel(sample, view, atlas_key)
        picked = picked_panel(sample, now, view, atlas_key)
        pressed = pressed if picked is None else picked  # an image's number may be 0
        panels.curve_panel(past, total, step, "first", "loss")
        panels.curve_panel(past, total, step, "second", PRIMARY)
        chosen |= panels.angles_panel(
            evaluation, drawn.evaluations, plan.margin_lines if plan else None, view.angles, key="lab.angles"
        )
    with bench.below:
        with st.container(key="lab.verdict", gap="small"):
            if run.state.finished and spec.budget.steps:
                panels.verdict_panel(
                    past,
                    frozen=spec.backbone.freeze == "everything",
                    unseen_classes=sample.unseen_classes(spec.dataset.split),
                )
            else:
                st.markdown(f":gray[:material/trending_up:] {progress_sentence(drawn.evaluations)}")
        before_arrays = first if step > earliest == steps[0] else None
        title = "Now" if live else f"Step {step:,}"
        row = st.container(key="lab.below.row", horizontal=True, vertical_alignment="center", gap="small")
        with row:
            chosen |= below_choice(view)
        if view.below == "failures":
            picked = failures_panel(holder, spec, sample, now, before_arrays, step, atlas_key, view)
        else:
            with row:
                chosen |= query_choice(view)
            picked = panels.retrieval_panel(sample, now, before_arrays, first, atlas_key, view, selected, title)
            if reads_texts(spec.method.key):
                found = words_panel(run, past, evaluation, atlas_key, view.side)
                picked = picked if found is None else found
        pressed = pressed if picked is None else picked
    apply_widget_events(view, chosen, events, moved, pressed)


def title_of_picture(run: RunFolder, plan: Plan | None) -> str:
    """'My run: ArcFace', the run's name and its loss."""
    loss = registry("losses")[run.spec.loss.key].title
    return "Before training" if plan else run.title() if loss in run.title() else f"{run.title()}: {loss}"


def method_choice(methods: list[str], method: str) -> ViewChanges:
    """The maps side by side; what the person changes of the view."""
    chosen = stored_segments(
        "lab.method",
        "Map",
        methods,
        method,
        words=look_up_words(METHODS),
        label_visibility="collapsed",
        help="UMAP keeps neighbours, PCA keeps distances. 2-D and 3-D are the embeddings themselves.",
    )
    return {"method": chosen} if chosen != method else {}


BELOW: dict[Below, str] = {"search": "Search", "failures": "Failures"}


def below_choice(view: View) -> ViewChanges:
    """What stands below the map: what searches return, or where they fail; what the person changes of the view."""
    chosen = stored_segments(
        "lab.below", "Below the map", list(BELOW), view.below, words=look_up_words(BELOW), label_visibility="collapsed"
    )
    return {"below": chosen} if chosen != view.below else {}


QUERIES: dict[Queries, str] = {
    "hardest": "Hardest",
    "random": "Random",
    "pinned": "Pinned",
    "selected": "Selected",
}


def query_choice(view: View) -> ViewChanges:
    """Which images are searched for, and on which side; what the person changes of the view."""
    queries = stored_segments(
        "lab.queries",
        "Queries",
        list(QUERIES),
        view.queries,
        words=look_up_words(QUERIES),
        label_visibility="collapsed",
        help="Hardest: those that searches failed most before training, so that they stay the same.",
    )
    side = side_choice(view)
    changes: ViewChanges = {}
    if queries != view.queries:
        changes["queries"] = queries
    if side != view.side:
        changes["side"] = side
    return changes


def picked_panel(sample: WatchSample, now: dict[str, np.ndarray], view: View, atlas_key: str) -> int | None:
    """What was picked, its nearest images, and a way to pin it as a query; returns the image that was pressed."""
    place = sample.place(view.picked)
    if place is None:
        return None
    side = "held out" if sample.held_out[place] else "training"
    of_class = escape_markdown(sample.class_names[sample.labels[place]])
    pinned = view.picked in view.pins
    others = tuple(pin for pin in view.pins if pin != view.picked)
    wanted: ViewChanges = {"pins": others}
    if not pinned and view.picked is not None:
        wanted = {"pins": (*others, view.picked)[-6:], "queries": "pinned"}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f"Picked: **{of_class}**, image {sample.ids[place]} ({side})", width="stretch")
        act_button(
            "Unpin" if pinned else "Pin as query",
            on_click=lambda: view.with_changes(**wanted),
            key=f"lab.{'unpin' if pinned else 'pin'}.{view.picked}",
            icon=":material/keep_off:" if pinned else ":material/keep:",
            type="tertiary",
        )
    return image_tiles([picked_row(sample, place, now)], atlas_key=atlas_key, key="lab.picked", size=40)


def apply_widget_events(
    view: View, chosen: ViewChanges, events: MapEvents, moved: ScrubberEvent, pressed: int | None
) -> None:
    """Take over what the person did in the widgets, and draw again if it changes the picture."""
    changes: ViewChanges = {**chosen}
    if "picked" in events.changed and events.picked != view.picked:
        changes["picked"] = events.picked
    if pressed is not None and pressed != view.picked:
        changes["picked"] = pressed
    if "hidden" in events.changed and events.hidden != view.hidden:
        changes["hidden"] = events.hidden
    if "lasso" in events.changed and events.lasso != view.lasso:
        changes["lasso"] = events.lasso
        if view.queries == "selected" and not events.lasso:
            changes["queries"] = "hardest"
    if "playing" in moved.changed:
        st.session_state[PLAYING] = moved.playing
    if moved.changed & {"step", "live"}:
        wanted = None if moved.live else moved.step
        if wanted != view.step:
            changes["step"] = wanted
    if changes:
        view.with_changes(**changes)
        rerun_fragment()
