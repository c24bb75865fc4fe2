"""What stands behind all pages of one server: the runs folder, its supervisor, and the histories being read."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from app.shared.preview_viewers import PreviewViewers
from mlcore.engines.supervisor import Supervisor
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import FrozenHistory, History
from mlcore.runs.queue import Queue

ROOT = Path(__file__).resolve().parents[1]
MOST_SLOTS = 1024
FIRST_DRAW_S = 1.6  # the browser draws the first page meanwhile; a worker that begins earlier takes its core
FEW_MODULES = 50


@dataclass
class LabServer:
    runs: Runs
    supervisor: Supervisor
    preview_viewers: PreviewViewers = field(default_factory=PreviewViewers)


@st.cache_resource(show_spinner=False)
def lab_server() -> LabServer:
    """The one Backstage of this server. Its runs folder is $LAB_RUNS, else `runs/` beside `app/`.

    Raises: ValueError with a sentence if there can be no runs folder there, or $LAB_SLOTS is no number of runs.
    """
    runs = Runs(os.environ.setdefault("LAB_RUNS", str(ROOT / "runs")))  # the processes ask for it, too
    supervisor = Supervisor(runs, slots=read_slots(os.environ.get("LAB_SLOTS", "")))
    supervisor.start(after_s=FIRST_DRAW_S)
    atexit.register(supervisor.close)
    return LabServer(runs, supervisor)


def read_slots(text: str) -> int | None:
    """How many runs go on at once; None for what is usual. Raises: ValueError if `text` is no such number."""
    if not text.strip():
        return None
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST_SLOTS:
        raise ValueError(
            f"LAB_SLOTS says how many runs go on at once: a whole number from 1 to {MOST_SLOTS}; it is '{text[:40]}'. "
            "Set it right, or leave it out, and start the lab again."
        )
    return int(text)


@st.cache_resource(max_entries=256, show_spinner=False)
def shared_history(root: str, run_id: str) -> History:
    return History(RunFolder(Path(root) / run_id))


def read_history(run: RunFolder) -> FrozenHistory:
    """What is known of the run now. The reader behind it is shared by all who look at the run; this does not change."""
    return shared_history(str(run.path.parent), run.run_id).freeze()


@st.cache_resource(show_spinner=False)
def read_queue() -> Queue:
    return Queue(lab_server().runs)


def freeze_imported_modules() -> None:
    """Keep imported modules out of garbage collection.

    Streamlit collects all generations after every run of a page or fragment. With torch and plotly imported that walks
    over a million objects, which cost more than the page itself. Called at the end of a run, it only acts when more
    than a few modules have been imported since the last time.
    """
    if len(sys.modules) > _spared.modules + FEW_MODULES:
        _spared.modules = len(sys.modules)
        gc.collect()
        gc.freeze()


@dataclass
class FrozenModules:
    modules: int = 0


_spared = FrozenModules()


def torch_is_ready() -> bool:
    """Whether the losses themselves can be asked without waiting; if not, they are imported behind the scenes."""
    if "mlcore.losses" in sys.modules and "torch" in sys.modules and not _importing.is_set():
        return True
    if not _importing.is_set():
        _importing.set()
        threading.Thread(target=_import_losses, name="import-losses", daemon=True).start()
    return False


_importing = threading.Event()


def _import_losses() -> None:
    try:
        importlib.import_module("mlcore.losses")
        freeze_imported_modules()
    finally:
        _importing.clear()
