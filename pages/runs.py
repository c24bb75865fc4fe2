"""Runs: all of them, with what they reached; open, stop, resume, download, delete."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.runs.archive import zip_runs
from app.runs.runs_table import (
    NO_TRAINING,
    SCORE,
    RunsTable,
    filter_rows,
    state_counts,
    trash_rows,
    with_no_training,
    without_shared_settings,
)
from app.server import lab_server
from app.shared.error_guard import guard_errors, report_errors
from app.shared.stored_widgets import act_button
from app.shared.text import count, escape_markdown, fault_words, format_bytes, format_share
from app.shared.view import leave_runs
from mlcore.data.sources.safe_folder import make_printable
from mlcore.runs.folder import RunFolder
from mlcore.runs.unreadable_folders import OddFolders

TRASHED = "runs.trashed"
TABLE = "runs.table"
ORDER = "runs.order"
CHANGE_HELP = (
    "Since step 0, the untrained embedding. Rows “No training” are of the backbone's own features, without a head."
)
SETTINGS_HELP = (
    "What this run does not share with all others of this list that have its data, backbone and loss. Of a single one: "
    "what is not as usual, and its length and seed."
)
MOST_ROWS, MOST_TRASHED = 18, 11  # rows that are shown without scrolling
MOST_PACKED = 500 * 2**20  # bytes: Streamlit holds what it hands over in memory
stage = lab_server()


@st.cache_resource(show_spinner=False)
def runs_table(root: str) -> RunsTable:
    return RunsTable(stage.runs)


def on_each(act: str, chosen: list[str]) -> None:
    """Stop or resume each of the chosen runs; those that cannot be are told."""
    for run_id in chosen:
        report_errors(lambda run_id=run_id: getattr(stage.runs.open(run_id), act)())()
    stage.supervisor.wake()


def delete(chosen: list[str]) -> None:
    gone: list[str] = []

    def delete_one(run_id: str) -> None:
        stage.runs.delete(run_id)
        gone.append(run_id)

    for run_id in chosen:
        report_errors(delete_one)(run_id)
    leave_runs(gone)
    st.session_state[TRASHED] = gone
    st.session_state[TABLE] = st.session_state.get(TABLE, 0) + 1
    st.session_state.pop(ORDER, None)


def restore(names: list[str]) -> None:
    """Bring runs back from the trash; those that cannot come are told."""
    for name in names:
        report_errors(stage.runs.restore)(name)
    stage.supervisor.wake()


def undo() -> None:
    restore(st.session_state.pop(TRASHED, []))


def existing_runs(chosen: list[str]) -> list[RunFolder]:
    """Those of the runs that are still here."""
    return [stage.runs.open(run_id) for run_id in chosen if run_id in stage.runs.ids()]


@st.dialog("Delete runs?")
def confirm_deletion(chosen: list[str]) -> None:
    runs = existing_runs(chosen)
    size = sum(run.size_bytes() for run in runs) / 2**20
    st.write(
        f"Everything in {count(len(runs), 'run')} ({size:.1f} MB) goes to the trash for a day (below, on this page):"
    )
    for run in runs[:8]:
        st.text(f"•  {run.title()}")
    if len(runs) > 8:
        st.caption(f"and {len(runs) - 8} more")
    if st.button("Delete", type="primary", icon=":material/delete:", key="runs.delete.sure"):
        delete(chosen)
        st.rerun()


@st.dialog("Download runs")
def download(chosen: list[str]) -> None:
    """Packs first: a button that packs when it is pressed could not say what went wrong."""
    runs = existing_runs(chosen)
    whole = sum(run.size_bytes() for run in runs)
    st.write(f"Everything in {count(len(runs), 'run')} ({format_bytes(whole)}), as one zip.")
    if whole > MOST_PACKED:
        st.warning(
            f"That is more than a page can hand over ({format_bytes(MOST_PACKED)}). Choose fewer runs, or copy their "
            f"folders from {escape_markdown(str(stage.runs.root), 400)}.",
            icon=":material/info:",
        )
        return
    try:
        with st.spinner("Packing …"):
            packed = zip_runs(runs)
    except (ValueError, OSError) as error:
        st.error(fault_words(error), icon=":material/error:")
        return
    st.download_button(
        f"Save the zip ({format_bytes(len(packed))})",
        packed,
        file_name=f"{chosen[0]}.zip" if len(chosen) == 1 else "runs.zip",
        mime="application/zip",
        icon=":material/download:",
        key="runs.save",
        type="primary",
        on_click="ignore",
    )


def run_actions(chosen: list[str]) -> None:
    """What can be done with the selected runs."""
    with st.container(horizontal=True):
        if st.button("Open", icon=":material/open_in_new:", disabled=len(chosen) != 1, key="runs.open", type="primary"):
            st.switch_page("../pages/lab.py", query_params={"run": chosen[0]})
        states = [RunFolder(stage.runs.root / run_id).state for run_id in chosen]
        act_button(
            "Stop",
            icon=":material/stop:",
            key="runs.stop",
            disabled=not any(not state.finished for state in states),
            on_click=on_each,
            args=("stop", [run for run, state in zip(chosen, states, strict=True) if not state.finished]),
        )
        act_button(
            "Resume",
            icon=":material/play_arrow:",
            key="runs.resume",
            disabled=not any(state.resumable for state in states),
            on_click=on_each,
            args=("resume", [run for run, state in zip(chosen, states, strict=True) if state.resumable]),
        )
        if st.button("Download", icon=":material/download:", key="runs.download", help="A zip of all their files."):
            download(chosen)
        if st.button("Delete", icon=":material/delete:", key="runs.delete"):
            confirm_deletion(chosen)


def table_key() -> str:
    """The table's widget; a new one, with nothing selected, after rows have gone."""
    return f"runs.table.{st.session_state.get(TABLE, 0)}"


def held_in_place(shown: pd.DataFrame) -> pd.DataFrame:
    """While something is selected (by row number), rows neither come nor change places under the person's hand."""
    selected = st.session_state.get(table_key(), {}).get("selection", {}).get("rows", [])
    order = st.session_state.get(ORDER)
    if not selected or order is None:
        st.session_state[ORDER] = list(shown["id"])
        return shown
    return shown.set_index("id", drop=False).reindex(order).dropna(subset=["id"])


@st.fragment(run_every=2.0)
@guard_errors
def table_of_runs() -> None:
    everything = runs_table(str(stage.runs.root)).rows()
    if everything.empty:
        st.info("No runs yet. Go to the Lab, choose data and a loss, and press Start.", icon=":material/info:")
        st.page_link("../pages/lab.py", label="To the Lab", icon=":material/bubble_chart:")
        return
    left, right = st.columns([0.5, 0.5], vertical_alignment="bottom")
    text = left.text_input(
        "Filter", placeholder="name, data, backbone, loss, settings or note", key="runs.filter", bind="query-params"
    )
    counts = state_counts(filter_rows(everything, text, []))
    states = right.pills(
        "State, and how many runs the filter leaves in it",
        list(state_counts(everything)),
        selection_mode="multi",
        format_func=lambda state: f"{state} {counts[state]:,}",
        key="runs.states",
        bind="query-params",
    )
    listed = filter_rows(everything, text, states)
    shown = held_in_place(with_no_training(without_shared_settings(listed)))
    best = everything[SCORE].max() if everything[SCORE].notna().any() else None
    picked = st.dataframe(
        shown,
        hide_index=True,
        on_select="rerun",
        selection_mode=["multi-row", "single-cell"],
        key=table_key(),
        height="content" if len(shown) <= MOST_ROWS else 640,
        placeholder="–",
        column_order=[
            "name",
            "state",
            SCORE,
            "change",
            "curve",
            "loss",
            "backbone",
            "data",
            "settings",
            "started",
            "seconds",
            "note",
        ],
        column_config={
            "name": st.column_config.TextColumn("Name", width="medium"),
            "state": st.column_config.TextColumn("State", width="small"),
            SCORE: st.column_config.NumberColumn(
                SCORE, format="%.3f", help=f"Held out. The best here: {format_share(best)}"
            ),
            "change": st.column_config.NumberColumn("Change", format="%+.3f", help=CHANGE_HELP),
            "curve": st.column_config.LineChartColumn("Over the run", y_min=0.0, y_max=1.0, width="small"),
            "loss": "Loss",
            "backbone": "Backbone",
            "data": "Data",
            "settings": st.column_config.TextColumn("Differs in", help=SETTINGS_HELP),
            "started": st.column_config.DatetimeColumn("Started", format="distance"),
            "seconds": st.column_config.NumberColumn("Took (s)", format="%.0f"),
            "note": "Note",
        },
    )
    for row, _ in picked.selection.cells:
        if row < len(shown) and not str(shown.iloc[row]["id"]).startswith(NO_TRAINING):
            st.session_state[TABLE] = st.session_state.get(TABLE, 0) + 1  # the pressed cell is let go
            st.switch_page("../pages/lab.py", query_params={"run": str(shown.iloc[row]["id"])})
    picked_rows = [str(shown.iloc[row]["id"]) for row in picked.selection.rows if row < len(shown)]
    chosen = [run_id for run_id in picked_rows if not run_id.startswith(NO_TRAINING)]
    if len(listed) < len(everything):
        st.caption(f"{len(listed):,} of {count(len(everything), 'run')}")
    if chosen:
        run_actions(chosen)
    elif picked_rows:
        st.caption("No training is not a run: it is what the backbone's own features find, measured before step 1.")
    else:
        st.caption(
            "Press a row to open its run. Select rows at their left edge to stop, resume, download or delete several. "
            "The eye at the table's upper right chooses its columns."
        )


@st.cache_resource(show_spinner=False)
def odd_folders(root: str) -> OddFolders:
    return OddFolders(stage.runs)


def folders_that_are_no_runs() -> None:
    """What lies in the runs folder and is in no row, or waits in a row and is never started."""
    found = odd_folders(str(stage.runs.root)).read()
    if found:
        with st.expander(f"{count(len(found), 'folder')} here to put right"):
            for odd in found:
                st.text(f"{make_printable(odd.name)}: {odd.trouble}")


def show_trash() -> None:
    """The deleted runs: when each goes for good, and bringing some back."""
    rows = trash_rows(stage.runs)
    if rows.empty:
        return
    with st.expander(f"Trash: {count(len(rows), 'run')}", key="runs.trash"):
        st.caption(
            "A deleted run stays here for a day, then it goes for good. Time while this machine is off is not counted."
        )
        picked = st.dataframe(
            rows,
            hide_index=True,
            on_select="rerun",
            selection_mode="multi-row",
            key=f"runs.trash.table.{hash(tuple(rows['id']))}",
            height="content" if len(rows) <= MOST_TRASHED else 400,
            placeholder="–",
            column_order=["name", "goes", SCORE, "loss", "backbone", "data", "note"],
            column_config={
                "name": st.column_config.TextColumn("Name", width="medium"),
                "goes": st.column_config.TextColumn("Goes", width="small", help="When it is removed for good."),
                SCORE: st.column_config.NumberColumn(SCORE, format="%.3f"),
                "loss": "Loss",
                "backbone": "Backbone",
                "data": "Data",
                "note": "Note",
            },
        )
        chosen = [str(rows.iloc[row]["id"]) for row in picked.selection.rows if row < len(rows)]
        act_button(
            "Restore",
            icon=":material/restore_from_trash:",
            key="runs.restore",
            disabled=not chosen,
            on_click=restore,
            args=(chosen,),
            help=None if chosen else "Select runs at the left edge of their rows.",
        )


st.title("Runs", anchor=False)
if st.session_state.get(TRASHED):
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"{count(len(st.session_state[TRASHED]), 'run')} deleted.")
        act_button("Undo", icon=":material/undo:", key="runs.undo", on_click=undo)
table_of_runs()
show_trash()
folders_that_are_no_runs()
