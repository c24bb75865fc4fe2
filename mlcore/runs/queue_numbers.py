"""The order in which runs were queued: a number that only grows, whatever the clock says."""

from __future__ import annotations

import time
from pathlib import Path

from mlcore.disk.atomic import read_json, replace_json
from mlcore.disk.process import take_lock

PATIENCE_S = 5.0
LOOK_S = 0.002


def next_number(root: Path) -> int:
    """A number greater than that of every run that was queued in this runs folder before.

    Who cannot have the counter's lock in time takes the next number all the same; of two runs with one number the
    older comes first.
    """
    counter = root / ".queue.json"
    deadline = time.monotonic() + PATIENCE_S
    while (lock := take_lock(root / ".queue.lock")) is None and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    try:
        last = number_in(read_json(counter)) or greatest_number(root)
        replace_json(counter, {"number": last + 1}, sync=False)
        return last + 1
    finally:
        if lock is not None:
            lock.close()


def greatest_number(root: Path) -> int:
    """Of all runs that are here, where the counter is lost or damaged."""
    return max((number_in(read_json(path)) for path in root.glob("*/status.json")), default=0)


def number_in(record: object) -> int:
    number = record.get("number") if isinstance(record, dict) else None
    return number if isinstance(number, int) and number > 0 else 0
