"""The panel of a run's failures: four lists with pictures, each of which can be saved."""

from __future__ import annotations

import re

import numpy as np
import streamlit as st

from app.lab.failure_lists import LISTS, ListName, find_failures, list_csv, reason_for_nothing
from app.lab.large_pictures import SIZE, bring_pictures
from app.lab.side_choice import side_choice
from app.lab.snapshots import WatchSample
from app.shared.rerun import rerun_fragment
from app.shared.stored_widgets import act_button, stored_segments
from app.shared.text import count, escape_markdown, look_up_words
from app.shared.view import Side, View
from app.widgets.tiles import image_tiles
from mlcore.runs.folder import RunFolder
from mlcore.spec.run_spec import RunSpec

ROWS = 6
MOST_ROWS = 24
CHOICE = "lab.failures.wanted"
SHOWN = "lab.failures.rows"


def failures_panel(
    run: RunFolder,
    spec: RunSpec,
    sample: WatchSample,
    now: dict[str, np.ndarray],
    start: dict[str, np.ndarray] | None,
    step: int,
    atlas_key: str,
    view: View,
) -> int | None:
    """What a search finds worst at `step` among the watched images of the view's side; the image that was pressed.

    `now` and `start` (None where the step is the first) are the arrays of snapshots, `atlas_key` names the run's own
    thumbnails.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        which = list_choice()
        if which != "labels":
            change_side(view, side_choice(view))
        saving = st.container(width="content")
    st.caption(f"Step {step:,}. {LISTS[which].caption}")
    if not np.isfinite(now["embeddings"]).all():
        st.warning(
            f"The embeddings of step {step:,} hold numbers that are not finite, so nothing can be searched. The run "
            "has diverged: lower the learning rate.",
            icon=":material/error:",
        )
        return None
    found = find_failures(str(run.path), sample, now, start, view.side)
    lines = LISTS[which].lines(found)
    if which != "labels" and len(found.now.queries) and len(found.now.lone):
        st.caption(f"Not counted: {count(len(found.now.lone), 'image')} without another of the class on this side.")
    if not lines:
        st.info(reason_for_nothing(found, which), icon=":material/info:")
        return None
    with saving:
        save_button(run, step, which, list_csv(sample, which, lines))
    most = st.session_state.get(SHOWN, {}).get(which, ROWS)
    rows = [LISTS[which].show(found, line) for line in lines[:most]]
    all_pictures = [row.pictures for row in rows]
    pictures = bring_pictures(run, spec.dataset, sample, all_pictures, atlas_key, key="lab.failures.atlas")
    if pictures.fault:
        st.caption(
            ":material/photo_size_select_small: These are the small pictures of the run's folder, since its data set "
            f"cannot be read here: {escape_markdown(pictures.fault, 200)}"
        )
    pressed = None
    for number, row in enumerate(rows):
        said, selecting = st.columns([0.8, 0.2], vertical_alignment="center")
        said.markdown(row.words)
        with selecting:
            select_button(view, number, row.selects)
        picked = image_tiles(
            [pictures.find_tiles(row.pictures)],
            atlas_key=pictures.key,
            key=f"lab.failures.tiles.{number}",
            size=SIZE,
            selected=view.lasso,
        )
        pressed = picked if pressed is None else pressed
    more_button(which, most, len(lines))
    return pressed


def list_choice() -> ListName:
    kept: ListName = st.session_state.get(CHOICE, "classes")
    titles = {which: shown.title for which, shown in LISTS.items()}
    chosen = stored_segments(
        "lab.failures.list", "List", list(LISTS), kept, words=look_up_words(titles), label_visibility="collapsed"
    )
    st.session_state[CHOICE] = chosen
    return chosen


def change_side(view: View, side: Side) -> None:
    if side != view.side:
        view.with_changes(side=side)
        rerun_fragment()


def save_button(run: RunFolder, step: int, which: ListName, table: str) -> None:
    title = re.sub(r"[^\w.-]+", "-", run.title()).strip("-.")[:60]
    st.download_button(
        "Save the list",
        table,
        file_name=f"{title or run.run_id}-step-{step}-{which}.csv",
        mime="text/csv",
        icon=":material/download:",
        key="lab.failures.save",
        on_click="ignore",
        type="tertiary",
        help="All lines of this list as a CSV table.",
    )


def select_button(view: View, number: int, ids: tuple[int, ...]) -> None:
    act_button(
        f"Select {count(len(ids), 'image')}",
        key=f"lab.failures.select.{number}",
        on_click=lambda: view.with_changes(lasso=ids),
        icon=":material/lasso_select:",
        type="tertiary",
        help="Selects them in the map.",
    )


def more_button(which: ListName, most: int, total: int) -> None:
    """Says how much of the list is shown, and shows more of it."""
    st.caption(f"{min(most, total):,} of {total:,} are shown.{' A saved list has all.' if total > MOST_ROWS else ''}")
    if most < min(total, MOST_ROWS):
        act_button("Show more", key="lab.failures.more", on_click=show_more, args=(which, most + ROWS))


def show_more(which: ListName, most: int) -> None:
    st.session_state[SHOWN] = st.session_state.get(SHOWN, {}) | {which: most}
