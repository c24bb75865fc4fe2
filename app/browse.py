"""A data set as the Data page shows it: its atlas, its classes, the nearest images by plain pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from app.tiles import Row, Tile
from app.words import count, plain
from mlcore.catalogue import parts
from mlcore.data import ImageTable, Split, load, split
from mlcore.data.thumbnails import MAX_SIDE, Atlas, atlas

NEAREST = 8
GROUPS = 20


@st.cache_resource(max_entries=4, show_spinner=False)
def browsed(key: str) -> tuple[ImageTable, Atlas]:
    """The set and an atlas of all its images; tile n is row n."""
    table = load(key)
    tile = min(48, max(table.image_size), MAX_SIDE // (int(len(table) ** 0.5) + 1))
    return table, atlas(table.pixels, max(8, tile))


@st.cache_resource(max_entries=8, show_spinner=False)
def mosaic(key: str, count: int) -> tuple[ImageTable, Atlas]:
    """The set and an atlas of some images spread over its classes."""
    table = load(key)
    rows = spread(table.labels, count)
    return table, atlas(table.pixels[rows], min(48, max(table.image_size)))


def spread(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` rows from as many classes as there are, each time another image of the class."""
    classes = np.unique(labels)
    chosen = classes[np.linspace(0, len(classes) - 1, min(count, len(classes))).round().astype(int)]
    rows = [np.flatnonzero(labels == label) for label in chosen]
    return np.array([places[number * 7 % len(places)] for number, places in enumerate(rows)])


@st.cache_data(max_entries=32, show_spinner=False)
def split_of(key: str, by: str, held_out: float, seed: int) -> Split:
    return split(load(key).labels, by, held_out, seed)


def class_rows(table: ImageTable, held_out: np.ndarray, classes: Sequence[int], *, by: str, most: int) -> list[Row]:
    """A row a class: its name, how many images it has and on which side they are, and its first images."""
    rows = []
    for label in classes:
        places = np.flatnonzero(table.labels == label)
        held = int(held_out[places].sum())
        side = ("held out" if held else "training") if by == "class" else f"{held} held out"
        shown = places[:most]
        more = f", the first {most}" if len(places) > most else ""
        tiles = tuple(Tile(int(place), int(place), "none", table.image_names[place]) for place in shown)
        rows.append(Row(table.class_names[label], f"{len(places)} images, {side}{more}", tiles))
    return rows


def groups_text(table: ImageTable) -> str:
    """'Groups: digits (10 classes), capital letters (26).' where classes have parents, else ''."""
    if table.parents is None:
        return ""
    (name, number), *others = zip(table.parent_names, np.bincount(table.parents).tolist(), strict=True)
    told = [f"{plain(name)} ({count(number, 'class', 'classes')})"]
    told += [f"{plain(name)} ({number})" for name, number in others[: GROUPS - 1]]
    more = f" and {len(others) + 1 - GROUPS:,} more" if len(others) >= GROUPS else ""
    return f"Groups: {', '.join(told)}{more}."


def classes_named(table: ImageTable, text: str) -> list[int]:
    """Classes whose name holds every typed word; all of them for no words."""
    words = text.lower().split()
    return [label for label, name in enumerate(table.class_names) if all(word in name.lower() for word in words)]


@st.cache_data(max_entries=64, show_spinner=False)
def nearest_by_pixels(key: str, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose pixels point most in the same direction, and their cosines; a baseline that knows nothing."""
    flat = unit_pixels(key)
    cosines = flat @ flat[row]
    cosines[row] = -np.inf
    found = np.argsort(-cosines, kind="stable")[:NEAREST]
    return found, cosines[found]


@st.cache_resource(max_entries=2, show_spinner=False)
def unit_pixels(key: str) -> np.ndarray:
    """(N, H * W * C) float32, each row centred and of length 1."""
    table = load(key)
    flat = table.pixels.reshape(len(table), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def set_titles() -> dict[str, str]:
    return {key: spec.title for key, spec in parts("datasets").items()}
