"""What an import would make of a path, seen in names alone: no image is opened."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mlcore.data.sources import ImageEntry, Reading, source_for, source_readings
from mlcore.data.sources.safe_folder import Root, TooLong

NAMES = 200_000
CHECK_EVERY = 512


@dataclass(frozen=True)
class LookedAt:
    """What a source names: how many images of each class and each side, what it made out by itself, and what it leaves
    out, by reasons. `classes`, `sides` and `left_out` are counts, the largest first. Not `complete`: there is more."""

    source: str
    images: int
    classes: dict[str, int]
    sides: dict[str, int]
    left_out: dict[str, int]
    readings: list[Reading]
    complete: bool


def look_at_path(
    path: str | os.PathLike[str],
    source: str | None = None,
    knobs: Mapping[str, object] | None = None,
    *,
    seconds: float | None = None,
) -> LookedAt:
    """List what `source`, or the one that fits, finds at a path, for at most so many seconds.

    Raises: ValueError as `source_for` does, or where the source cannot be read.
    """
    key, opened = source_for(path, source, **(knobs or {}))
    until = None if seconds is None else time.monotonic() + seconds
    classes: Counter[str] = Counter()
    sides: Counter[str] = Counter()
    left: Counter[str] = Counter()
    root = getattr(opened, "root", None)
    if isinstance(root, Root):
        root.until = until
    items, complete, readings = opened.find(), True, []
    try:
        for number, item in enumerate(itertools.islice(items, NAMES)):
            if until is not None and number % CHECK_EVERY == 0 and time.monotonic() > until:
                complete = False
                break
            if isinstance(item, ImageEntry):
                classes[item.label] += 1
                sides[item.split or ""] += 1
            else:
                left[item.reason] += 1
        complete = complete and next(items, None) is None
        readings = source_readings(opened)
    except TooLong:
        complete = False
    sides.pop("", None)
    return LookedAt(
        key, classes.total(), sort_counts(classes), sort_counts(sides), sort_counts(left), readings, complete
    )


def sort_counts(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())
