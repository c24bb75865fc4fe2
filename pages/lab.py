"""The Lab: choose data, backbone and loss, start, and watch the embedding space form."""

from __future__ import annotations

import streamlit as st

from app.backstage import backstage
from app.comparing import faults_words, group_words, specs_of
from app.draft import Draft
from app.follow import follow
from app.launch import draft_margin_lines, draft_or_fault, preview_of, queue_words, start, start_words
from app.setup import setup
from app.view import View
from app.words import plain
from mlcore.catalogue import parts
from mlcore.runs.folder import RunNotFound

stage = backstage()
view = View.read()
draft = Draft()
draft.follow()

with st.sidebar:
    setup(draft)
draft.write_url()
spec, fault = draft_or_fault(draft)
specs, left_out = specs_of(draft, spec) if spec else ([], [])

with st.bottom, st.container(horizontal=True, vertical_alignment="center"):
    st.button(
        start_words(stage, spec, len(specs)) if spec else "Start",
        type="primary",
        icon=":material/play_arrow:",
        key="lab.start",
        disabled=spec is None,
        on_click=start,
        args=(stage, specs),
    )
    words = [
        parts("losses")[draft.get("loss")].title,
        parts("backbones")[draft.get("backbone")].title,
        plain(draft.part("dataset").title) if draft.part("dataset") else None,
    ]
    st.caption(" · ".join(filter(None, [*words, queue_words()])))
    group_words()
notices = st.container()
with notices:
    faults_words(left_out)
if fault:
    notices.error(plain(fault, 600), icon=":material/error:")

run = None
if view.run is not None:
    try:
        run = stage.runs.open(view.run)
    except RunNotFound:
        notices.warning("The link names a run that is not here. It may have been deleted, or belong to another lab.")
if run is not None:
    follow(stage, run, view.run)
elif spec is not None:
    preview = preview_of(stage, spec)
    follow(stage, preview, view.run, draft_margin_lines(spec))
