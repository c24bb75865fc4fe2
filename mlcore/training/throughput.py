"""How fast training goes, and what beside it may take of its time."""

from __future__ import annotations

import math
import time

import psutil

SMOOTHING = 0.1
MEMORY_EVERY_S = 0.25  # asking the system takes a tenth of a quick step


class Pace:
    """How fast the steps go: a moving average, without the time between steps (a pause does not count)."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.seconds = 0.0
        self.total = 0.0
        self._start = 0.0

    def begin(self) -> None:
        self._start = time.perf_counter()

    def end(self) -> None:
        took = time.perf_counter() - self._start
        self.total += took
        self.seconds = took if self.seconds == 0.0 else (1 - SMOOTHING) * self.seconds + SMOOTHING * took

    @property
    def images_per_s(self) -> float:
        return self.batch_size / self.seconds if self.seconds else 0.0


class Share:
    """Keeps something that costs time to a share of it. Its cost is measured as a context, its consumer included."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.cost = 0.0
        self.ended = time.perf_counter()

    def allows(self) -> bool:
        return self.cost <= self.share * (time.perf_counter() - self.ended)

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.ended = time.perf_counter()
        self.cost = self.ended - self._began


class Memory:
    """What this process holds in memory, MB; asked for a few times a second at most."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.asked = -math.inf
        self.held = 0.0

    def mb(self) -> float:
        now = time.monotonic()
        if now - self.asked >= MEMORY_EVERY_S:
            self.asked, self.held = now, round(self.process.memory_info().rss / 2**20, 1)
        return self.held
