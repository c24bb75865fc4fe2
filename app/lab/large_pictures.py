"""A few images of a run, larger than its thumbnails: read from its data set while that is on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import streamlit as st

from app.lab.snapshots import WatchSample
from app.server import read_history
from app.widgets.tiles import Row, Tile, atlas_carrier
from mlcore.data import DATASETS, ImageTable, load
from mlcore.data.store import SET_ID
from mlcore.data.thumbnails import Atlas, draw_atlas
from mlcore.runs.folder import RunFolder
from mlcore.spec.sections import DataChoice

SIZE = 160  # px


@dataclass(frozen=True)
class Pictures:
    """The atlas `key` and where in it each place of the sample stands; `fault` says why these are small pictures."""

    key: str
    tiles: dict[int, int] | None = None
    fault: str = ""

    def find_tiles(self, row: Row) -> Row:
        """The row, whose tiles are numbered by their places in the sample, with tiles of this atlas."""
        strips = tuple(replace(strip, tiles=self._find(strip.tiles)) for strip in row.strips)
        return replace(row, tiles=self._find(row.tiles), strips=strips)

    def _find(self, tiles: tuple[Tile, ...]) -> tuple[Tile, ...]:
        known = self.tiles
        return tiles if known is None else tuple(replace(tile, tile=known[tile.tile]) for tile in tiles)


def bring_pictures(
    run: RunFolder, dataset: DataChoice, sample: WatchSample, rows: list[Row], atlas_key: str, *, key: str
) -> Pictures:
    """Send the images of these rows to the browser as large as they are stored, up to SIZE px.

    Tiles are numbered by their places in the sample. Where the data set cannot be read, or is another one by now, the
    run's own thumbnails (`atlas_key`) stand for them.
    """
    tiles = [tile for row in rows for tile in (*row.tiles, *(tile for strip in row.strips for tile in strip.tiles))]
    places = sorted({tile.tile for tile in tiles})
    if not places:
        return Pictures(atlas_key)
    try:
        atlas = draw_pictures(str(run.path), dataset.model_dump_json(), tuple(sample.ids[places].tolist()))
    except (ValueError, OSError) as error:
        return Pictures(atlas_key, fault=str(error))
    atlas_carrier(atlas, key=key)
    return Pictures(atlas.key, {place: number for number, place in enumerate(places)})


@st.cache_resource(max_entries=16, show_spinner=False)
def draw_pictures(path: str, dataset: str, rows: tuple[int, ...]) -> Atlas:
    """An atlas of these rows of a run's data set. Raises: ValueError with a sentence, OSError."""
    table = read_images(RunFolder(Path(path)), DataChoice.model_validate_json(dataset))
    return draw_atlas(table.pixels, min(SIZE, max(table.image_size)), np.asarray(rows))


def read_images(run: RunFolder, dataset: DataChoice) -> ImageTable:
    """The images that a run was trained on. Raises: ValueError with a sentence if they are not here."""
    if dataset.key not in DATASETS and not SET_ID.fullmatch(dataset.key):
        raise ValueError(f"the images lie at {dataset.key} and were not imported")
    table = load(dataset.key, **dataset.params)
    started = read_history(run).started
    seen = started.get("fingerprint", "") if started else ""
    if (seen or dataset.fingerprint) not in ("", table.fingerprint):
        raise ValueError("the data set has changed since")
    return table
