"""How much of the disk must be free for a run to be started, and what is said where it is not."""

from __future__ import annotations

from pathlib import Path

ROOM_BYTES = 64 * 2**20


def no_room_words(root: Path, free: int, wanted: int = ROOM_BYTES) -> str:
    return (
        f"The disk under {root} is full ({free // 2**20:,} MB free). What waits is started by itself as soon as "
        f"{-(-wanted // 2**20):,} MB are free."
    )
