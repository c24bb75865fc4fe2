"""The one line above a run's picture: what it is, how far it is, and what can be done with it."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app.lab.compare_losses import group_words
from app.lab.export_spec import command_line, python_lines
from app.server import LabServer, read_queue
from app.shared.draft import Draft
from app.shared.setting_words import changed_words, join_words, setting_words
from app.shared.stored_widgets import act_button, stored_widget
from app.shared.text import STATE_WORDS, count, escape_markdown, format_bytes, format_duration
from app.shared.view import view_run
from mlcore.runs.folder import RunFolder
from mlcore.runs.history import FrozenHistory, warning_texts
from mlcore.runs.liveness import FAR_SILENT_S
from mlcore.runs.records import StartedRecord
from mlcore.runs.states import RunState
from mlcore.runs.status import Status
from mlcore.spec.run_spec import RunSpec

SILENT_S = 30.0
WARNINGS_SHOWN = 4
MOST_CHANGES = 5
MOST_CHIPS = 7
PARTS = 3  # data, backbone and loss come first, then length and seed, then what differs from the usual
COVERAGE = {"samples_visited", "samples", "classes_visited", "classes", "batches"}


def status_bar(stage: LabServer, run: RunFolder, spec: RunSpec, past: FrozenHistory) -> None:
    status = run.status()
    word, colour, icon = STATE_WORDS[status.state]
    if status.paused and status.state == RunState.RUNNING:
        word, colour, icon = "paused", "orange", ":material/pause:"
    with st.container(key="lab.head.line", horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"#### {escape_markdown(run.title())}", width="content", anchors=False)
        st.badge(word, icon=icon, color=colour)
        st.caption(progress_words(stage, run, status, past), width="content")
        st.space("stretch")
        run_buttons(stage, run, spec, status)
        act_button(
            "Close",
            key="lab.close",
            on_click=view_run,
            args=(None,),
            icon=":material/close:",
            type="tertiary",
            help="Back to the picture, before training, of what is chosen on the left. The run stays in Runs.",
        )
    done = status.step / status.total_steps if status.total_steps else float(status.state.finished)
    st.progress(min(1.0, done))
    with st.container(key="lab.head.settings", horizontal=True, vertical_alignment="center", gap="small"):
        chips = [f":gray-badge[{escape_markdown(words, 60)}]" for words in words_of_run(run.run_id, spec)]
        rest = chips[MOST_CHIPS:]
        more = f" :gray-badge[and {len(rest)} more]" if rest else ""
        st.markdown(" ".join(chips[:MOST_CHIPS]) + more, width="content", help=" ".join(rest) or None)
        if words := epoch_words(past.started):
            st.caption(words, width="content")
        group_words(run.label())


@st.cache_data(max_entries=256, ttl=60, show_spinner=False)
def words_of_run(run_id: str, _spec: RunSpec) -> list[str]:
    """What is set in a run, in words; asked again now and then, since a set of images may be renamed."""
    *parts, length, seed = setting_words(_spec)
    return [*parts[:PARTS], length, seed, *parts[PARTS:]]


def next_run_words(shown: RunSpec, draft: RunSpec) -> None:
    """That the left side is no part of the run that is shown, and in what its settings differ."""
    changed = changed_words(shown, draft)
    if not changed:
        st.caption("**Next run**: as the one shown.")
        return
    words = escape_markdown(join_words(changed, MOST_CHANGES), 600)
    st.caption(f"**Next run**, other than the one shown: {words}")
    act_button(
        "Use the shown run's settings",
        on_click=copy_into_draft,
        args=(shown,),
        key="lab.take",
        icon=":material/content_copy:",
        type="tertiary",
        help="Its settings instead of these.",
    )


def progress_words(stage: LabServer, run: RunFolder, status: Status, past: FrozenHistory) -> str:
    """'step 120 of 300 · 412 images/s · 0:18 left · 1.2 GB'."""
    if status.state == RunState.QUEUED:
        if waits := stage.supervisor.waits or stage.runs.read_helper_status("supervisor").get("waits"):
            return escape_markdown(waits, 400)
        ahead = read_queue().position(run.run_id)
        if not ahead:
            return "Next in the queue; starts as soon as a worker is ready"
        return f"Waiting: {count(ahead, 'run')} ahead of this one"
    words = [f"step {status.step:,} of {status.total_steps:,}"]
    last = past.steps[-1] if past.steps else None
    if last and not status.state.finished:
        pace, left, memory = (last[name] for name in ("images_per_s", "seconds_left", "memory_mb"))
        words += [f"{pace:,.0f} images/s"] if pace is not None else []
        words += [f"{format_duration(left)} left"] if left is not None else []
        words += [f"{memory / 1024:.1f} GB memory"] if memory is not None else []
    elif status.state.finished:
        words.append(f"took {format_duration(status.seconds)}")
    if status.activity:
        words.insert(0, escape_markdown(status.activity))
    return " · ".join(words)


def epoch_words(started: StartedRecord | None) -> str:
    """'An epoch visits 1,080 of 1,116 images and 31 of 31 classes, in 35 batches.'; '' before a run has said so."""
    if not started:
        return ""
    seen = started.get("coverage")
    if not seen or not seen.keys() >= COVERAGE:
        return ""
    adapted = f" {escape_markdown(started['input'])}" if started.get("input") else ""
    return (
        f"An epoch visits {seen['samples_visited']:,} of {count(seen['samples'], 'image')} and "
        f"{seen['classes_visited']:,} of {count(seen['classes'], 'class', 'classes')}, in "
        f"{count(seen['batches'], 'batch', 'batches')}.{adapted}"
    )


def show_problem(stage: LabServer, run: RunFolder, past: FrozenHistory) -> None:
    """Why a run ended early, or that its worker is silent, in one sentence with what to do."""
    status = run.status()
    if status.state in (RunState.FAILED, RunState.LOST):
        st.error(escape_markdown(status.reason_text, 600), icon=":material/error:")
        end = run.log_end(50)
        if end:
            with st.expander("The end of the worker's log"):
                st.code(end, language=None)
    elif status.reason_code == "terminated":
        st.warning(escape_markdown(status.reason_text, 600), icon=":material/power_settings_new:")
    elif words := silent_words(run.other_machine(), stage.supervisor.silent_for(run.run_id)):
        st.warning(words, icon=":material/hearing_disabled:")
    if past.faults:
        st.warning(
            f"Some of this run's files are damaged. {escape_markdown(' '.join(past.faults), 400)}",
            icon=":material/rule:",
        )
    texts = warning_texts(past.messages)
    for text in texts[-WARNINGS_SHOWN:]:
        st.warning(escape_markdown(text, 400), icon=":material/warning:")
    if len(texts) > WARNINGS_SHOWN:
        with st.expander(f"{count(len(texts) - WARNINGS_SHOWN, 'earlier warning')}"):
            for text in texts[:-WARNINGS_SHOWN]:
                st.markdown(escape_markdown(text, 400))


def silent_words(machine: str, silent_s: float) -> str:
    """That nothing is heard of a run, of this machine or of that other one; "" while something is."""
    if machine and silent_s > FAR_SILENT_S:
        return (
            f"This run was going on on another machine, {escape_markdown(machine)}; nothing was heard of it for "
            f"{silent_s:.0f} s. Stop takes it over: it can then be resumed here, or deleted. After two minutes of "
            "silence it counts as lost by itself."
        )
    if not machine and silent_s > SILENT_S:
        return f"The worker has not responded for {silent_s:.0f} s. It is ended after two minutes."
    return ""


def run_buttons(stage: LabServer, run: RunFolder, spec: RunSpec, status: Status) -> None:
    """What can be done with the run. Keys name it: a press means the run that was shown, whatever is shown by then."""
    if status.state in (RunState.RUNNING, RunState.STARTING):
        if run.asked("pause"):
            act_button(
                "Resume",
                on_click=run.withdraw_request,
                args=("pause",),
                key=f"lab.unpause.{run.run_id}",
                icon=":material/play_arrow:",
            )
        else:
            act_button(
                "Pause", on_click=run.ask, args=("pause",), key=f"lab.pause.{run.run_id}", icon=":material/pause:"
            )
    if not status.state.finished:
        stopping = run.asked("cancel")
        act_button(
            "Stopping" if stopping else "Stop",
            on_click=stop,
            args=(stage, run),
            key=f"lab.stop.{run.run_id}",
            icon=":material/stop:",
            disabled=stopping,
        )
    elif status.state.resumable:
        act_button(
            "Resume",
            on_click=resume_run,
            args=(stage, run),
            key=f"lab.resume.{run.run_id}",
            icon=":material/play_arrow:",
        )
    with st.popover("More", icon=":material/more_horiz:"):
        more_menu(stage, run, spec, status)


def stop(stage: LabServer, run: RunFolder) -> None:
    run.stop()
    stage.supervisor.wake()


def resume_run(stage: LabServer, run: RunFolder) -> None:
    run.resume()
    stage.supervisor.wake()


def more_menu(stage: LabServer, run: RunFolder, spec: RunSpec, status: Status) -> None:
    """Name, note, copies, and the way out."""
    label = run.label()
    stored_widget(
        partial(st.text_input, "Name", placeholder=spec.title(), max_chars=120),
        f"lab.name.{run.run_id}",
        label.name,
        lambda name: run.set_label(name=name),
    )
    stored_widget(
        partial(st.text_area, "Note", max_chars=2000, height=80),
        f"lab.note.{run.run_id}",
        label.note,
        lambda note: run.set_label(note=note),
    )
    act_button(
        "Change and run again",
        on_click=copy_into_draft,
        args=(spec,),
        key=f"lab.duplicate.{run.run_id}",
        icon=":material/content_copy:",
        width="stretch",
        help="Takes this run's settings to the left, where they can be changed.",
    )
    export_tabs(spec)
    if status.state.finished:
        sure = st.checkbox("Yes, delete this run", key=f"lab.sure.{run.run_id}")
        act_button(
            "Delete",
            on_click=delete_run,
            args=(stage, run),
            key=f"lab.delete.{run.run_id}",
            icon=":material/delete:",
            disabled=not sure,
            width="stretch",
            help=f"Moves {format_bytes(run.size_bytes())} to the trash, where it stays for a day.",
        )


def copy_into_draft(spec: RunSpec) -> None:
    Draft().replace(spec.settings() | {"name": ""})
    st.toast("The settings are on the left; change what you like and start.", icon=":material/content_copy:")
    st.rerun()


def delete_run(stage: LabServer, run: RunFolder) -> None:
    stage.runs.delete(run.run_id)
    st.session_state["runs.trashed"] = [run.run_id]
    view_run(None)
    st.toast("Deleted. The Runs page can bring it back.", icon=":material/delete:")


def export_tabs(spec: RunSpec) -> None:
    """The same run for a file, a terminal and a notebook."""
    kind = st.segmented_control(
        "Copy as", ["YAML", "Command line", "Python"], default="YAML", key="lab.copy", required=True
    )
    text, language = {
        "YAML": (spec.to_yaml(), "yaml"),
        "Command line": (command_line(spec), "bash"),
        "Python": (python_lines(spec), "python"),
    }[kind]
    st.code(text, language=language, height=180)
