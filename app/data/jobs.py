"""Work on image sets in processes of its own: imports and preparations, watched and stopped from the Data page."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from app.data.upload_folders import upload_folders
from mlcore.commands.data import UNANSWERED
from mlcore.disk.atomic import make_folder, open_private
from mlcore.environment import PROJECT, child_environment

COMMAND = ("-m", "mlcore")
STOPPED = 130
MOST_READ = 64 * 1024


@dataclass(eq=False)
class Job:
    """One `python -m mlcore ...` and what it says: its progress, then its result or why there is none.

    `folder` is its own, with its output; it goes when the job is dismissed.
    """

    number: int
    title: str
    arguments: list[str]
    folder: Path
    upload: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    began: float = field(default_factory=time.monotonic)
    asked_to_stop: bool = False

    def begin(self) -> None:
        self.began = time.monotonic()
        roots = os.environ.get("LAB_IMPORT_ROOTS", "")
        allowed = {"LAB_IMPORT_ROOTS": f"{roots}{os.pathsep}{self.upload}"} if roots and self.upload else {}
        with (
            open(self.folder / "out", "wb", opener=open_private) as out,
            open(self.folder / "told", "wb", opener=open_private) as told,
        ):
            self.process = subprocess.Popen(
                [sys.executable, *COMMAND, *self.arguments],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=told,
                env=child_environment() | allowed,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """None while it goes on."""
        return None if self.process is None else self.process.poll()

    @property
    def succeeded(self) -> bool:
        """Whether it ended with a result. Python may end with code 0 when it is stopped before it has read our code."""
        return self.result() is not None

    @property
    def stopped(self) -> bool:
        """Whether it ended because somebody ended it: also before it was far enough to say so in its own way."""
        if self.code is None or self.succeeded:
            return False
        return self.asked_to_stop or self.code == STOPPED or self.code < 0

    def progress(self) -> tuple[int, int | None, float | None]:
        """Done, of how many (None: they are still being counted), seconds left."""
        for line in reversed(self.told()):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                return record["done"], record["total"], record["seconds_left"]
        return 0, None, None

    def result(self) -> dict[str, object] | None:
        """What it printed, once it has ended well; None if it has not."""
        if self.code != 0:
            return None
        with contextlib.suppress(ValueError):
            return json.loads((self.folder / "out").read_bytes())
        return None

    @property
    def asks(self) -> bool:
        """Whether it ended with a question, see `question` and `agree`."""
        return self.code == UNANSWERED

    def question(self) -> str:
        """What it asks before it imports very many images."""
        for line in reversed(self.told()):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return json.loads(line)["question"]
        return self.fault()

    def agree(self) -> None:
        """Begin again, and go on without the question."""
        command, *rest = self.arguments
        self.arguments = [command, "--yes", *rest]
        self.begin()

    def fault(self) -> str:
        """Its last words, once it has ended otherwise."""
        words = [line.removeprefix("mlcore: ") for line in self.told() if line and not line.startswith("{")]
        return words[-1] if words else f"The process ended with code {self.code} and without a word."

    def told(self) -> list[str]:
        with open(self.folder / "told", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_READ))
            text = file.read().decode("utf-8", "replace")
        return text.splitlines()

    def stop(self) -> None:
        """Ask it to end; what an import has read stays, and the same import goes on from there."""
        if self.process is not None and self.code is None:
            self.asked_to_stop = True
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGINT)


class Jobs:
    """The jobs of one server, in the order they were begun. All sessions share it: `all` is replaced, never changed."""

    def __init__(self) -> None:
        self.all: tuple[Job, ...] = ()
        self._lock = threading.Lock()
        self._number = 0
        self._folder = Path(tempfile.mkdtemp(prefix="lab-jobs-"))
        atexit.register(self.close)

    def begin(self, title: str, arguments: list[str], upload: Path | None = None) -> Job:
        """`upload`: the folder of a file that somebody sent, which goes with the job."""
        with self._lock:
            self._number += 1
            number = self._number
        folder = self._folder / str(number)
        make_folder(folder)
        job = Job(number, title, arguments, folder, upload)
        if upload is not None:
            upload_folders().hold(upload)
        job.begin()
        with self._lock:
            self.all = tuple(sorted((*self.all, job), key=lambda one: one.number))
        return job

    def dismiss(self, job: Job) -> None:
        """Forget a job that has ended, with what was uploaded for it."""
        if job.code is None:
            return
        with self._lock:
            if job not in self.all:
                return
            self.all = tuple(one for one in self.all if one is not job)
        shutil.rmtree(job.folder, ignore_errors=True)
        if job.upload is not None:
            upload_folders().release(job.upload)

    def close(self) -> None:
        for job in self.all:
            job.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@st.cache_resource(show_spinner=False)
def shared_jobs() -> Jobs:
    return Jobs()
