"""How benchmarks of losses measure: a clock that contestants share in turns, and the memory of a process of its own."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

Once = Callable[[], object]
LONGEST = 10.0  # seconds that a measurement may take beyond its three rounds
GIGABYTE = 2**30


class Alone(NamedTuple):
    """What a process of its own took: the median of its calls after the first, and its peak above what it began with.

    Both are None where it did not come to its end; `why` says what happened.
    """

    milliseconds: float | None
    gigabytes: float | None
    why: str = ""


def milliseconds(rounds: int, *contestants: Once, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """The median time of each contestant. They take turns, so that a busy machine slows all of them alike.

    Slow ones get fewer rounds, never less than three.
    """
    start = time.perf_counter()
    for once in contestants:
        once()
    taken = time.perf_counter() - start
    if taken < LONGEST / 10:
        for once in contestants:
            once()
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(max(min(3, rounds), min(rounds, int(LONGEST / taken)))):
        for once, its_times in zip(contestants, times, strict=True):
            start = clock()
            once()
            its_times.append(clock() - start)
    return [1000.0 * statistics.median(its_times) for its_times in times]


def alone(build: Callable[..., Once], *arguments: object, calls: int = 3, limit: float) -> Alone:
    """Build and call in a new process, which may take `limit` gigabytes.

    `build` is a function of a module and `arguments` plain values, since both are sent there. The process has imported
    what this one's main module imports before its memory is counted.
    """
    context = multiprocessing.get_context("forkserver")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(in_this_process, build, arguments, calls, limit).result()
        except (MemoryError, RuntimeError, BrokenProcessPool) as error:
            return Alone(
                None, None, f"failed at {limit:.0f} GB: {str(error).partition(chr(10))[0][:60] or type(error)}"
            )


def in_this_process(build: Callable[..., Once], arguments: tuple[object, ...], calls: int, limit: float) -> Alone:
    limit_memory(limit)
    before = peak_gigabytes()
    once = build(*arguments)
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return Alone(1000.0 * statistics.median(times[1:] or times), peak_gigabytes() - before)


def peak_gigabytes() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE


def limit_memory(gigabytes: float) -> None:
    """Let larger allocations fail from here on, so that a shared machine is spared."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * GIGABYTE), most))


def free_gigabytes() -> float:
    """What the machine could still give without taking it from anyone."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            return int(amount.split()[0]) * 1024 / GIGABYTE
    raise OSError("/proc/meminfo: has no line MemAvailable.")
