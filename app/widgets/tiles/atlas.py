"""An atlas that was stored in a run's folder, as the carrier wants it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredAtlas:
    """`data` is the image file of type `mime`: `count` tiles of `tile` px, `columns` to a row, named `key`."""

    data: bytes
    mime: str
    tile: int
    columns: int
    count: int
    key: str
