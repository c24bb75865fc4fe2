"""The folders of uploaded files: each goes once no session and no import has it any more."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import streamlit as st

from mlcore.data.store import UPLOADS, data_root
from mlcore.data.unfinished_imports import list_unfinished

LEFT_S = 24 * 3600.0


class UploadFolders:
    """Counts who has each folder. One for all sessions and imports of a server, in any thread."""

    def __init__(self) -> None:
        self._holders: Counter[Path] = Counter()
        self._lock = threading.Lock()

    def hold(self, folder: Path) -> None:
        with self._lock:
            self._holders[folder] += 1

    def release(self, folder: Path) -> None:
        """One holder less; with the last one the folder goes."""
        with self._lock:
            self._holders[folder] -= 1
            if self._holders[folder] <= 0:
                del self._holders[folder]
                shutil.rmtree(folder, ignore_errors=True)

    def remove_left(self, older_than_s: float = LEFT_S) -> None:
        """Remove what a server that was killed has left, but for what an unfinished import can go on with."""
        needed = {Path(begun.path).parent for begun in list_unfinished(data_root()) if begun.path}
        for folder in uploads_folder().glob("*"):
            with self._lock, contextlib.suppress(OSError):
                held = folder in self._holders or folder in needed
                if not held and time.time() - folder.stat().st_mtime >= older_than_s:
                    shutil.rmtree(folder, ignore_errors=True)


def uploads_folder() -> Path:
    """Where uploaded files lie until they are imported."""
    return data_root() / UPLOADS


@st.cache_resource(show_spinner=False)
def upload_folders() -> UploadFolders:
    folders = UploadFolders()
    folders.remove_left()
    return folders
