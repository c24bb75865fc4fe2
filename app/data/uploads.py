"""Files that somebody sends for one import: a zip, a table with the zip of its images, or feature vectors."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app.data.upload_folders import UploadFolders, upload_folders, uploads_folder
from mlcore.data.sources.table_rows import SUFFIXES
from mlcore.disk.atomic import make_folders, open_private

KINDS = ["zip", "csv", "tsv", "parquet", "npz"]
PART_BYTES = 2**20


@dataclass(frozen=True)
class UploadedFiles:
    """Files on the disk in a folder of their own: the one that an import begins with, and options for the others."""

    folder: Path
    path: str
    options: dict[str, str]


class SessionUpload:
    """What one session has sent and not yet imported, on the disk as long as the session has it."""

    def __init__(self, folders: UploadFolders) -> None:
        self.folders = folders
        self.ids: tuple[str, ...] = ()
        self.made: UploadedFiles | None = None

    def take(self, sent: Sequence[UploadedFile]) -> UploadedFiles:
        """These files on the disk; those that it had before are let go. Raises: ValueError as `split_parts` does."""
        main, options = split_parts([plain_name(file.name) for file in sent])
        ids = tuple(file.file_id for file in sent)
        if self.made is None or self.ids != ids or not Path(self.made.path).exists():
            folder = folder_for(sent)
            self.folders.hold(folder)
            self.let_go()
            self.ids, self.made = ids, UploadedFiles(folder, str(folder / main), options)
            write_files(sent, folder)
        return self.made

    def let_go(self) -> None:
        if self.made is not None:
            folder, self.made = self.made.folder, None
            self.folders.release(folder)


@st.cache_resource(scope="session", show_spinner=False, on_release=SessionUpload.let_go)
def session_upload() -> SessionUpload:
    """This session's; it is let go when the session ends or its connection does."""
    return SessionUpload(upload_folders())


def save_uploads(sent: Sequence[UploadedFile]) -> UploadedFiles:
    """The files that this session has sent, on the disk.

    Raises: ValueError if they are not files of one import.
    """
    return session_upload().take(sent)


def split_parts(names: Sequence[str]) -> tuple[str, dict[str, str]]:
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


def folder_for(sent: Sequence[UploadedFile]) -> Path:
    """The folder of uploaded files, named by their contents: the same files sent again are the same import.

    They are read in parts: whatever asks for all of a file at once makes a copy in memory.
    """
    digest = hashlib.sha256()
    for file in sent:
        digest.update(plain_name(file.name).encode())
        for part in read_chunks(file):
            digest.update(part)
    return uploads_folder() / digest.hexdigest()[:16]


def write_files(sent: Sequence[UploadedFile], folder: Path) -> None:
    """Write uploaded files into a folder, under names made plain. One that is there is whole, and may be in use."""
    make_folders(folder)
    for file in sent:
        stored = folder / plain_name(file.name)
        if stored.exists():
            continue
        part = folder / f".{uuid.uuid4().hex}"
        try:
            with open(part, "xb", opener=open_private) as copy:
                copy.writelines(read_chunks(file))
            os.replace(part, stored)
        finally:
            part.unlink(missing_ok=True)


def plain_name(name: str) -> str:
    stem, suffix = Path(name).stem, Path(name).suffix.lower()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', stem)[:60].strip('-') or 'images'}{suffix}"


def read_chunks(file: UploadedFile) -> Iterator[bytes]:
    file.seek(0)
    while part := file.read(PART_BYTES):
        yield part


def release_upload(sent: Sequence[UploadedFile]) -> None:
    """Give back what holds uploaded files for this session, on the disk and in Streamlit's memory."""
    session_upload().let_go()
    context = get_script_run_ctx()
    if context is None:
        return
    remove = getattr(context.uploaded_file_mgr, "remove_file", None)
    if remove is not None:  # another manager of uploads may hold them elsewhere
        for file in sent:
            remove(session_id=context.session_id, file_id=file.file_id)
