"""Files that somebody sends for one import: a zip, a table with the zip of its images, or feature vectors."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.jobs import jobs, uploads
from mlcore.data.sources.table_rows import SUFFIXES
from mlcore.runs.durable import make_folders

KINDS = ["zip", "csv", "tsv", "parquet", "npz"]
HELD = "data.uploaded"
PART_BYTES = 2**20


@dataclass(frozen=True)
class Uploaded:
    """Files on the disk in a folder of their own: the one that an import begins with, and options for the others."""

    folder: Path
    path: str
    options: dict[str, str]


def uploaded(sent: Sequence[Any]) -> Uploaded:
    """The files that this session has sent, on the disk; those that it sent before go, unless an import has them.

    Raises: ValueError if they are not files of one import.
    """
    main, options = parted([plain_name(file.name) for file in sent])
    ids = tuple(file.file_id for file in sent)
    before = st.session_state.get(HELD)
    if before is not None and before[0] == ids and Path(before[1].path).exists():
        return before[1]
    folder = spooled(sent)
    if before is not None and before[1].folder != folder:
        forget(before[1].folder)
    made = Uploaded(folder, str(folder / main), options)
    st.session_state[HELD] = (ids, made)
    return made


def parted(names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The file that an import begins with, and where the others come in.

    Raises: ValueError if they do not belong together.
    """
    if len(set(names)) < len(names):
        raise ValueError("Two of these files have one name. Rename one.")
    tables = [name for name in names if name.lower().endswith(SUFFIXES)]
    others = [name for name in names if name not in tables]
    if len(others) > 1 or (tables and others and not others[0].lower().endswith(".zip")):
        raise ValueError("One import takes one zip, one NPZ file, or a table with the zip of its images.")
    if not tables:
        return others[0], {}
    main, *more = tables
    options = {"root": others[0]} if others else {}
    return main, options | ({"more": ",".join(more)} if more else {})


def spooled(sent: Sequence[Any]) -> Path:
    """Uploaded files on the disk, in a folder named by their contents, under names made plain.

    They are read in parts: whatever asks for all of a file at once makes a copy in memory.
    """
    digest = hashlib.sha256()
    for file in sent:
        digest.update(plain_name(file.name).encode())
        for part in parts_of(file):
            digest.update(part)
    folder = uploads() / digest.hexdigest()[:16]
    make_folders(folder)
    for file in sent:
        stored = folder / plain_name(file.name)
        stored.touch(mode=0o600)
        with stored.open("wb") as copy:
            copy.writelines(parts_of(file))
    return folder


def plain_name(name: str) -> str:
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', stem)[:60].strip('-') or 'images'}{suffix}"


def parts_of(file: Any) -> Iterator[bytes]:
    file.seek(0)
    while part := file.read(PART_BYTES):
        yield part


def forget(folder: Path) -> None:
    """Remove what was sent, unless an import is at it."""
    if all(job.upload != folder for job in jobs().all):
        shutil.rmtree(folder, ignore_errors=True)


def let_go(sent: Sequence[Any]) -> None:
    """Give back the memory that Streamlit holds uploaded files in, else until the person has left."""
    context = get_script_run_ctx()
    remove = getattr(context.uploaded_file_mgr, "remove_file", None) if context is not None else None
    if remove is not None:  # another manager of uploads may hold them elsewhere
        for file in sent:
            remove(session_id=context.session_id, file_id=file.file_id)
