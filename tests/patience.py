"""Waiting for what comes at once on a quiet machine, and late on a busy one."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

PATIENCE_S = 600.0  # nothing here takes so long: who waits this long waits for a hang


def until(truth: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    """Whether a process is over, be it that nobody has asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
