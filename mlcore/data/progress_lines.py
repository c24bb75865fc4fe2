"""Progress as lines of JSON on standard error, for whoever watches the process: a page of the app."""

from __future__ import annotations

import json
import signal
import sys
import time

EVERY_S = 0.2


class ProgressLines:
    """Prints `{"done": 120, "total": 2000, "seconds_left": 8.5}`, at most five lines a second and the last one always.

    Whoever asks for lines may also end the process by SIGINT, which a parent in the background would have switched off.
    """

    def __init__(self) -> None:
        self.began, self.told = time.monotonic(), 0.0
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self, done: int, total: int | None, seconds_left: float | None = None) -> None:
        now = time.monotonic()
        if now - self.told < EVERY_S and done != total:
            return
        self.told = now
        if seconds_left is None and total is not None and done:
            seconds_left = (total - done) * (now - self.began) / done
        line = {"done": done, "total": total, "seconds_left": seconds_left and round(seconds_left, 1)}
        print(json.dumps(line), file=sys.stderr, flush=True)
