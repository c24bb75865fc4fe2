"""Rows of image tiles, and the carrier that brings their atlas to the browser once.

An atlas is one small image file with a tile per sample. `atlas_carrier`, called outside the live fragment, sends it
as a message that never changes, so Streamlit keeps it in the browser. There it is registered under its key in
`globalThis.__labAtlases`, and an event `lab-atlas` tells maps and tiles that wait for it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import streamlit as st

from app.widgets.bundle import BundledComponent

_HERE = Path(__file__).parent
TILES = BundledComponent("lab_tiles", [_HERE / "tiles.js"], _HERE / "tiles.css")
_atlas = st.components.v2.component("lab_atlas", js=(_HERE / "atlas.js").read_text(encoding="utf-8"))


Frame = Literal["right", "wrong", "query", "none"]


class AtlasLike(Protocol):
    """What is read of an atlas (`mlcore.data.thumbnails.Atlas`): `data` in the file format `mime`, `count` tiles of
    `tile` pixels."""

    @property
    def data(self) -> bytes: ...

    @property
    def mime(self) -> str: ...

    @property
    def tile(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def count(self) -> int: ...

    @property
    def key(self) -> str: ...


@dataclass(frozen=True)
class Tile:
    """One image: stable sample `id`, its place `tile` in the atlas, how it is framed, and the words said of it."""

    id: int
    tile: int
    frame: Frame = "none"
    label: str = ""


@dataclass(frozen=True)
class Strip:
    """A titled run of tiles inside a row, such as "before training" or "now"."""

    title: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Row:
    """A row: `tiles` first (a query comes apart from what follows), then `strips` beside each other, stacked on a
    phone."""

    title: str = ""
    note: str = ""
    tiles: tuple[Tile, ...] = ()
    strips: tuple[Strip, ...] = ()


def atlas_carrier(atlas: AtlasLike, *, key: str | None = None) -> None:
    """Send `atlas` to the browser once and register it under `atlas.key`; draws nothing. Call it outside the live
    fragment."""
    _atlas(key=key or f"atlas-{atlas.key}", data=pack_atlas(atlas))


def pack_atlas(atlas: AtlasLike) -> bytes:
    """[uint32 LE header length][JSON header][the image file]."""
    header = {name: getattr(atlas, name) for name in ("key", "mime", "tile", "columns", "count")}
    text = json.dumps(header).encode("utf-8")
    return struct.pack("<I", len(text)) + text + atlas.data


def image_tiles(
    rows: Sequence[Row],
    *,
    atlas_key: str,
    key: str,
    size: int = 48,
    selected: Sequence[int] = (),
    empty: str = "Nothing to show yet.",
) -> int | None:
    """Draw `rows` of tiles `size` CSS pixels wide from the atlas `atlas_key`; the id of the tile that was just
    pressed, or None.

    Tiles of the ids `selected` are emphasised; `empty` stands where there is no row or a row has no tile.
    """
    if not 16 <= size <= 256:
        raise ValueError(f"image_tiles: size must lie in 16..256 pixels; got {size}; 48 suits retrieval rows.")
    data = {
        "rows": [asdict(row) for row in rows],
        "atlas": atlas_key,
        "size": size,
        "selected": [int(sample) for sample in selected],
        "empty": empty,
    }
    picked = TILES(key=key, data=data, on_picked_change=_nothing).get("picked")
    return None if picked is None else int(picked)


def _nothing() -> None:
    """A trigger needs a callback to be known; the page reads the returned id instead."""
