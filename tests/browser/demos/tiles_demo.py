"""Tiles and a map that share one atlas; the carrier comes last, so both are there before their pictures."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from app.widgets.map import live_map
from app.widgets.tiles import Row, Strip, Tile, atlas_carrier, image_tiles

sys.path.insert(0, str(Path(__file__).resolve().parent))
from map_demo import demo_frame


@dataclass(frozen=True)
class DemoAtlas:
    data: bytes
    mime: str = "image/png"
    tile: int = 16
    columns: int = 10
    count: int = 100
    key: str = "demo"


@st.cache_data
def demo_atlas_bytes() -> bytes:
    """100 tiles of 16 pixels: tile k is a square of colour (2k, 255 - 2k, 90) in a black frame."""
    sheet = np.zeros((160, 160, 3), dtype=np.uint8)
    for k in range(100):
        row, column = divmod(k, 10)
        sheet[16 * row + 2 : 16 * row + 14, 16 * column + 2 : 16 * column + 14] = (2 * k, 255 - 2 * k, 90)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()


def found(first: int, hits: str) -> tuple[Tile, ...]:
    """A tile per letter: r is right, w is wrong."""
    frames = {"r": "right", "w": "wrong"}
    return tuple(
        Tile(first + i, first + i, frames[letter], f"class {letter}, rank {i + 1}") for i, letter in enumerate(hits)
    )


def main() -> None:
    rows = [
        Row(
            "Query 5",
            "rank 9 → 2",
            (Tile(5, 5, "query", "<i>five</i>"),),
            (Strip("Before training", found(10, "rwwwrwww")), Strip("Now", found(30, "rrrwrrrr"))),
        ),
        Row("One strip", "", (Tile(7, 7, "query", "seven"), *found(50, "rrwr"))),
        Row("Empty row"),
    ]
    pressed = image_tiles(rows, atlas_key="demo", key="tiles", size=48, selected=(31,))
    if pressed is not None:
        st.session_state.pressed = pressed
    st.text(f"pressed {st.session_state.get('pressed')}")
    image_tiles([], atlas_key="demo", key="none", empty="Draw a lasso to see its images.")
    mosaic = tuple(Tile(k, k, label=f"tile {k}") for k in range(100))
    image_tiles([Row("Mosaic", "100 images", mosaic)], atlas_key="demo", key="mosaic", size=24)
    frame = replace(
        demo_frame(60, 100, 6, 2, "umap", st.context.theme.type or "light"), atlas_key="demo", tile=16, columns=10
    )
    live_map(frame, key="map", height=320)
    atlas_carrier(DemoAtlas(demo_atlas_bytes()))


main()
