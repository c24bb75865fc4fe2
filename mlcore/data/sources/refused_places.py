"""Places that are no folder of images, whatever lies in them: refused before they are listed, or soon after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from mlcore.data.sources.entries import ImageEntry
from mlcore.data.store import SET_ID, UPLOADS, data_root
from mlcore.disk.run_id import RUN_ID

Item = TypeVar("Item")

KERNEL = ("/proc", "/sys", "/dev")
SYSTEM = (
    "/bin /boot /etc /home /lib /lib64 /media /mnt /opt /root /run /sbin /srv /tmp /usr /var "
    "/Applications /Library /System /Users /Volumes /private"
)
LOOKED_AT = 100_000
LEAST_SHARE = 0.01


def refuse_hopeless(path: Path) -> None:
    """Raises: ValueError if a resolved path is the whole disk, a home, a folder of the system or one of the lab's."""
    if why := why_hopeless(path):
        raise ValueError(f"{path}: {why} Name the folder in which the images lie.")


def why_hopeless(path: Path) -> str:
    if path == path.parent:
        return "is the whole disk, not a folder of images."
    if path == Path.home().resolve() or path in Path.home().resolve().parents:
        return "is a home folder or holds some, with everything in them."
    if any(path.is_relative_to(kernel) for kernel in KERNEL) or str(path) in SYSTEM.split():
        return "is a folder of the system, not of images."
    data, runs = data_root().resolve(), Path(os.environ.get("LAB_RUNS") or "runs").resolve()
    if path in (data, runs) or is_own(path, data) or is_own(path, runs):
        return "is where the lab keeps its own sets and runs."
    return ""


def is_own(path: Path, root: Path) -> bool:
    """Whether a path lies in a set, a run or a hidden folder of ours; images that people keep beside them do not."""
    if not path.is_relative_to(root) or path == root:
        return False
    first = path.relative_to(root).parts[0]
    return bool(SET_ID.fullmatch(first) or RUN_ID.fullmatch(first) or (first.startswith(".") and first != UPLOADS))


def refusing_the_fruitless(items: Iterable[Item], path: str) -> Iterator[Item]:
    """The items, as long as some of them are images. Raises: ValueError if next to none of very many is."""
    images = 0
    for number, item in enumerate(items, 1):
        images += isinstance(item, ImageEntry)
        if number == LOOKED_AT and images < LEAST_SHARE * LOOKED_AT:
            raise ValueError(
                f"{path or 'import'}: of the first {LOOKED_AT:,} files {images:,} are images. Name the folder in which "
                "the images lie."
            )
        yield item
