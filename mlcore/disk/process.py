"""Is the process that a status names still the same process? By pid, start time and boot, never by clocks alone."""

from __future__ import annotations

import functools
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TypedDict

import psutil

PROC = Path("/proc")


@functools.lru_cache(maxsize=1)
def boot_id() -> str:
    """Changes when the machine is started anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def uptime_s() -> float:
    """Seconds since the machine was started, or since some moment after that; setting the clock does not change it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@functools.lru_cache(maxsize=1)
def pid_space() -> str:
    """In which space process numbers are counted: a container has its own; "" where the system does not say."""
    try:
        return os.readlink(PROC / "self" / "ns" / "pid")
    except OSError:
        return ""


def host_name() -> str:
    return platform.node()


def start_time(pid: int) -> float | None:
    """When process `pid` was created, or None if there is no such living process.

    On Linux in clock ticks since the boot, as the kernel says: the time of day that psutil makes of them moves when
    the clock is set, and a living worker would seem to be another process. Elsewhere in seconds since 1970.
    """
    if (PROC / "self" / "stat").exists():
        return start_ticks(pid)
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def start_ticks(pid: int) -> float | None:
    """Field 22 of /proc/PID/stat; the fields are counted from the end of the name, which may hold spaces."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else float(fields[19])


class Identity(TypedDict):
    """What a status says of the process that owns it."""

    pid: int
    pid_start: float | None
    boot_id: str
    pid_space: str
    host: str


def process_identity() -> Identity:
    """This process, as a status names it."""
    pid = os.getpid()
    started = start_time(pid)
    return {"pid": pid, "pid_start": started, "boot_id": boot_id(), "pid_space": pid_space(), "host": host_name()}


def is_here(named: Mapping[str, object]) -> bool:
    """Whether the process that an identity names was one of this machine, so that we can see whether it lives.

    A machine is known by its boot, whatever it is called now, and a container by its process numbers; after a restart
    by its name.
    """
    if named["boot_id"] == boot_id() and named.get("pid_space"):
        return named["pid_space"] == pid_space()
    return named["host"] in ("", host_name())


def is_alive(pid: int | None, started: float | None, boot: str) -> bool:
    """Whether that very process is alive on this machine."""
    if pid is None or boot != boot_id():
        return False
    now = start_time(pid)
    return now is not None and (started is None or abs(now - started) < 0.05)


def take_lock(path: Path) -> IO[bytes] | None:
    """The locked file, or None if another process holds it. The lock goes with the process."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
