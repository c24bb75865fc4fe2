"""Whether a small file that is always replaced as a whole has changed since it was read, without reading it."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

# A file system's clock moves in jumps of some milliseconds, so two versions may bear the same time.
YOUNG_NS = 50_000_000


class Stamp(NamedTuple):
    """What is known of a file without reading it; `young` if it had just been written when it was looked at."""

    inode: int
    size: int
    changed_ns: int
    young: bool


def file_stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """The file's stamp, to be taken before it is read; None if there is no such file."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return Stamp(facts.st_ino, facts.st_size, facts.st_mtime_ns, time.time_ns() - facts.st_mtime_ns < YOUNG_NS)


def same_stamp(before: Stamp | None, now: Stamp | None) -> bool:
    """Whether the file is surely still the one that was read then."""
    if before is None or now is None:
        return before is now
    return not before.young and before[:3] == now[:3]
