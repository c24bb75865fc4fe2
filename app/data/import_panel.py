"""Your own images into the lab: an upload or a path, what it is called, and the import's progress."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.data.import_options import import_options
from app.data.jobs import Job, shared_jobs
from app.data.uploads import KINDS, release_upload, save_uploads, session_upload
from app.shared.stored_widgets import act_button
from app.shared.text import count, escape_markdown, format_bytes, format_duration, look_up_words
from mlcore.commands.data import same_import
from mlcore.data.store import data_root
from mlcore.data.unfinished_imports import list_unfinished, remove_unfinished

ADDED = "data.added"
MINE = "data.mine"
SHAPES = """
- **Zip**: a folder for each class, with its images in it (PNG, JPEG, WebP, BMP). Folders around them do not count, and
  folders called train, val, test, query or gallery are the official split. Or a table in the zip that names its images.
- **Folder** on this computer: the same, unpacked; or CUB-200-2011, Cars196, Stanford Online Products, In-Shop or
  iNaturalist 2018 as they come.
- **Table** (CSV, Parquet), with the zip of its images where you upload it: columns `file` and `label`, and if you like
  `split`, `fold`, `parent`, `text` and a box.
- **Feature vectors** (NPZ, Parquet): `vectors` and `labels`; a head is trained on them.
- **MNIST's files** (idx), also gzipped.
"""


def import_panel() -> None:
    """The panel that takes images. It is a new one, closed and empty, after each import."""
    number = st.session_state.setdefault(ADDED, 0)
    with st.expander("Add your own images", key=f"data.adding.{number}"):
        by = st.segmented_control(
            "From",
            ["upload", "path"],
            format_func=look_up_words({"upload": "Upload", "path": "A path on this computer"}),
            default="upload",
            required=True,
            key="data.from",
        )
        if by == "upload":
            sent = st.file_uploader(
                "A zip with a folder for each class, a table with the zip of its images, or feature vectors",
                KINDS,
                accept_multiple_files=True,
                key=f"data.upload.{number}",
                help="Up to 200 MB a file. Larger ones: unpack them and give their path.",
            )
            path, name = None, Path(sent[0].name).stem if sent else ""
        else:
            sent = []
            path = st.text_input(
                "Folder, table, zip or idx files", key="data.path", placeholder="/home/me/photos", max_chars=4096
            ).strip()
            name = Path(path).stem
        with st.popover("Accepted files", icon=":material/help:"):
            st.markdown(SHAPES)
        usual = name or "as the file is called"
        title = st.text_input("Name of the set", key="data.title", placeholder=usual, max_chars=120)
        if not sent:
            session_upload().let_go()
        try:
            stored = save_uploads(sent) if sent else None
        except (ValueError, OSError) as error:
            st.warning(escape_markdown(str(error), 300), icon=":material/error:")
            stored, sent = None, []
        with st.expander("Reading options", expanded=bool(stored or path)):
            options = import_options(path, stored)
        act_button(
            "Import",
            type="primary",
            icon=":material/download:",
            key="data.import",
            disabled=not (sent or path),
            on_click=begin_import,
            args=(f"data.upload.{number}" if sent else None, path, title.strip() or name, options),
        )


def begin_import(uploader: str | None, path: str | None, title: str, options: list[str]) -> None:
    """Import what lies at the path, or in the uploader of this key: handed over itself, it would be kept as a copy."""
    upload, sent = None, st.session_state[uploader] if uploader else []
    if sent:
        stored = save_uploads(sent)
        upload, path = stored.folder, stored.path
    if not path:
        raise ValueError("There is nothing to import any more. Choose the files again.")
    named = ["--title", title] if title else []
    start_import(title or "images", ["import", *options, *named, "--json", "--progress", "--", path], upload)
    release_upload(sent)
    st.session_state["data.title"] = st.session_state["data.path"] = ""
    st.session_state[ADDED] += 1


def start_import(title: str, arguments: list[str], upload: Path | None = None) -> None:
    """Begin a job; what comes of it is shown to this session."""
    job = shared_jobs().begin(title, arguments, upload)
    st.session_state.setdefault(MINE, set()).add(job.number)


def jobs_going_on() -> None:
    """What is being imported or prepared, and what has just been; drawn again every half second while it goes on."""
    there = shared_jobs().all
    if there:
        ticking = any(job.code is None for job in there)
        st.fragment(run_every=0.5 if ticking else None)(show_jobs)(ticking)


def show_jobs(ticking: bool) -> None:
    for job in shared_jobs().all:
        with st.container(border=True):
            show_job(job)
    if ticking and all(job.code is not None for job in shared_jobs().all):
        st.rerun()


def show_job(job: Job) -> None:
    if job.code is None:
        done, total, left = job.progress()
        if total is None:
            st.progress(0.0, f"{escape_markdown(job.title)}: looking at what is there, {count(done, 'file')} so far")
        else:
            ends = f", {format_duration(left)} left" if left is not None else ""
            st.progress(
                min(1.0, done / max(total, 1)),
                f"{escape_markdown(job.title)}: {done:,} of {count(total, 'image')}{ends}",
            )
        act_button("Stop", icon=":material/stop:", key=f"data.stop.{job.number}", on_click=job.stop)
        return
    if job.succeeded:
        announce_set(job)
        return
    if job.asks:
        st.warning(f"“{escape_markdown(job.title)}”: {escape_markdown(job.question(), 600)}", icon=":material/help:")
        with st.container(horizontal=True):
            act_button("Import all", icon=":material/check:", key=f"data.agree.{job.number}", on_click=job.agree)
            dismiss_button(job)
        return
    if job.stopped:
        st.warning(f"“{escape_markdown(job.title)}” was stopped. What was read is kept.", icon=":material/stop_circle:")
    else:
        st.error(f"“{escape_markdown(job.title)}”: {escape_markdown(job.fault(), 600)}", icon=":material/error:")
    with st.container(horizontal=True):
        act_button(
            "Go on" if job.stopped else "Try again",
            icon=":material/play_arrow:",
            key=f"data.again.{job.number}",
            on_click=job.begin,
        )
        dismiss_button(job)


def announce_set(job: Job) -> None:
    """A set that has just come: shown to whoever asked for it, told to the others."""
    if job.number not in st.session_state.get(MINE, ()):
        st.success(f"“{escape_markdown(job.title)}” is here.", icon=":material/check:")
        dismiss_button(job)
        return
    result = job.result() or {}
    st.session_state["data.set"] = result.get("id") or result.get("set")
    st.session_state.pop("data.row", None)
    shared_jobs().dismiss(job)
    st.toast(f"“{escape_markdown(job.title)}” is here.", icon=":material/check:")
    st.rerun()


def dismiss_button(job: Job) -> None:
    act_button(
        "Dismiss",
        icon=":material/close:",
        key=f"data.dismiss.{job.number}",
        on_click=shared_jobs().dismiss,
        args=(job,),
    )


def left_behind() -> None:
    """Imports that were begun and not ended, by whatever: go on with them, or make room."""
    own = {argument for job in shared_jobs().all for argument in job.arguments}
    stale = [begun for begun in list_unfinished(data_root()) if not begun.held and begun.path not in own]
    if not stale:
        return
    with st.container(border=True):
        for begun in stale:
            st.markdown(
                f"An import of “{escape_markdown(begun.title or begun.path or 'some images')}” was begun and not ended."
            )
            if begun.path and Path(begun.path).exists():
                resume = [*same_import(begun, begun.path)[3:], "--json", "--progress"]
                act_button(
                    "Go on",
                    icon=":material/play_arrow:",
                    key=f"data.unfinished.{begun.folder.name}",
                    on_click=start_import,
                    args=(begun.title or Path(begun.path).stem, resume),
                )
        act_button(
            f"Remove what they left ({format_bytes(sum(begun.bytes for begun in stale))})",
            icon=":material/delete:",
            key="data.unfinished.remove",
            on_click=remove_unfinished,
            args=(data_root(),),
        )
