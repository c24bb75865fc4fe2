"""The Lab: choose data, backbone and loss, start, and watch the embedding space form."""

from __future__ import annotations

import streamlit as st

from app.lab.compare_losses import faults_words, specs_to_compare
from app.lab.draft_form import draft_form, lesson_words
from app.lab.launch import (
    concerns_before_start,
    draft_margin_lines,
    draft_or_fault,
    open_preview,
    queue_caption,
    refusal_words,
    start,
    start_words,
    what_is_started,
)
from app.lab.run_header import next_run_words
from app.lab.run_view import Plan, show_run
from app.lab.workbench import workbench_page
from app.server import lab_server
from app.shared.draft import LESSON, Draft
from app.shared.lessons import find_lesson
from app.shared.stored_widgets import act_button
from app.shared.text import escape_markdown, fault_words
from app.shared.view import View
from mlcore.runs.folder import RunNotFound
from mlcore.spec.concerns import refusal_sentence

stage = lab_server()
view = View.read()
draft = Draft()
draft.follow()

with st.sidebar:
    next_run = st.empty()
    next_run.caption("**Next run**")
    draft_form(draft)
    start_place = st.container(key="lab.start.place", gap="small")
draft.write_url()
spec, fault = draft_or_fault(draft)
specs, left_out = specs_to_compare(draft, spec) if spec else ([], [])
concerns = concerns_before_start(specs) if draft.get("budget.steps") else []
hopeless = refusal_sentence(concerns)

blocked = stage.runs.write_fault()
refusal = blocked or hopeless
words = start_words(stage, spec, len(specs)) if spec else "Start"
with start_place:
    act_button(
        words,
        key="lab.start",
        on_click=start,
        args=(stage, specs),
        type="primary",
        icon=":material/play_arrow:",
        shortcut="Mod+Enter",
        width="stretch",
        disabled=not specs or bool(refusal),
        help=refusal_words(refusal),
    )
    queue_caption()
with st.bottom, st.container(key="lab.start.bar", horizontal=True, vertical_alignment="center"):
    act_button(
        words,
        key="lab.start.narrow",
        on_click=start,
        args=(stage, specs),
        type="primary",
        icon=":material/play_arrow:",
        disabled=not specs or bool(refusal),
        help=refusal_words(refusal),
    )
    st.caption(what_is_started(draft))
page = workbench_page()
if lesson := find_lesson(draft.get(LESSON)):
    with page.container(key="lab.lesson.words"):
        lesson_words(lesson)
notices = page.container()
with notices:
    faults_words(left_out)
if fault or hopeless:
    notices.error(escape_markdown(fault or hopeless, 600), icon=":material/error:")
for concern in concerns:
    if not concern.stops:
        notices.warning(escape_markdown(concern.text, 400), icon=":material/warning:")

with page:
    run = None
    if view.run is not None:
        try:
            run = stage.runs.open(view.run)
            if spec is not None:
                with next_run.container():
                    next_run_words(run.spec, spec)
            show_run(stage, run, view.run)
        except RunNotFound:
            notices.warning(
                "The link names a run that is not here. It may have been deleted, or belong to another lab."
            )
        except ValueError as error:
            notices.error(
                f"{escape_markdown(str(error), 400)} It can be downloaded or deleted in Runs.", icon=":material/error:"
            )
            run = None
    if run is None and spec is not None:
        try:
            preview = open_preview(stage, spec)
        except OSError as error:
            notices.error(fault_words(error), icon=":material/error:")
            preview = None
        if preview is not None:
            show_run(stage, preview, view.run, Plan(draft_margin_lines(spec), spec.budget.steps))
        elif blocked:
            st.info("There is no picture of these settings yet, and none can be made now.", icon=":material/info:")
