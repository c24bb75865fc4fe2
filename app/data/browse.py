"""A data set as the Data page shows it: some of its images at a time, its classes, what is most like an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from app.shared.text import count, escape_markdown
from app.widgets.tiles import Row, Tile
from mlcore.data import ImageTable, load
from mlcore.data.store import SET_ID, data_root, read_index
from mlcore.data.thumbnails import Atlas, draw_atlas

NEAREST = 8
GROUPS = 20
TILE = 48


@st.cache_resource(max_entries=32, show_spinner=False)
def make_atlas(key: str, fingerprint: str, rows: tuple[int, ...]) -> Atlas:
    """An atlas of these rows of a set, in their order."""
    table = load(key)
    return draw_atlas(table.pixels, min(TILE, max(table.image_size)), np.asarray(rows))


@st.cache_resource(max_entries=16, show_spinner=False)
def pictures_at(places: tuple[tuple[str, int], ...], tile: int) -> Atlas:
    """An atlas of images of several sets of one stored size, each by its set and its row there."""
    images = [load(key).pixels[row] for key, row in places]
    channels = max(image.shape[2] for image in images)
    same = [np.repeat(image, channels // image.shape[2], axis=2) for image in images]
    return draw_atlas(np.stack(same), tile)


def draw_mosaic(key: str, most: int) -> tuple[ImageTable, Atlas]:
    """The set and an atlas of some images spread over its classes."""
    table = load(key)
    return table, make_atlas(key, table.fingerprint, tuple(pick_rows_across_classes(table.labels, most).tolist()))


def pick_rows_across_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` rows from as many classes as there are, each time another image of the class."""
    classes = np.unique(labels)
    chosen = classes[np.linspace(0, len(classes) - 1, min(count, len(classes))).round().astype(int)]
    rows = [np.flatnonzero(labels == label) for label in chosen]
    return np.array([places[number * 7 % len(places)] for number, places in enumerate(rows)])


def class_rows(
    table: ImageTable, held_out: np.ndarray, classes: Sequence[int], *, whole_classes: bool, most: int
) -> tuple[list[Row], tuple[int, ...]]:
    """A row a class (its name, how many images it has and on which side they are, its first images), and the images
    that are shown, in the order of their tiles."""
    rows: list[Row] = []
    shown: list[int] = []
    for label in classes:
        places = np.flatnonzero(table.labels == label)
        held = int(held_out[places].sum())
        side = ("held out" if held else "training") if whole_classes else f"{held} held out"
        first = places[:most].tolist()
        more = f", the first {most}" if len(places) > most else ""
        tiles = tuple(Tile(row, len(shown) + at, "none", table.image_names[row]) for at, row in enumerate(first))
        shown += first
        rows.append(Row(table.class_names[label], f"{count(len(places), 'image')}, {side}{more}", tiles))
    return rows, tuple(shown)


def groups_text(table: ImageTable) -> str:
    """'Groups: digits (10 classes), capital letters (26).' where classes have parents, else ''."""
    if table.parents is None:
        return ""
    (name, number), *others = zip(table.parent_names, np.bincount(table.parents).tolist(), strict=True)
    told = [f"{escape_markdown(name)} ({count(number, 'class', 'classes')})"]
    told += [f"{escape_markdown(name)} ({number})" for name, number in others[: GROUPS - 1]]
    more = f" and {len(others) + 1 - GROUPS:,} more" if len(others) >= GROUPS else ""
    return f"Groups: {', '.join(told)}{more}."


def find_classes(table: ImageTable, text: str) -> list[int]:
    """Classes whose name holds every typed word; all of them for no words."""
    words = text.lower().split()
    return [label for label, name in enumerate(table.class_names) if all(word in name.lower() for word in words)]


@st.cache_data(max_entries=64, show_spinner=False)
def most_like(key: str, fingerprint: str, row: int) -> tuple[list[int], list[str], str]:
    """The rows that are most like one without any learning, how much each is, and by what that was judged.

    The sets that come with the lab: by their pixels. Imported ones, which may be large: by their perceptual hashes, and
    feature vectors by themselves.
    """
    vectors = load(key).vectors
    if vectors is not None:
        lengths = np.linalg.norm(vectors, axis=1)
        cosines = (vectors @ vectors[row]) / np.maximum(lengths * lengths[row], 1e-12)
        return (*find_nearest(cosines, row), "their vectors")
    if SET_ID.fullmatch(key):
        apart = hash_distances(key, fingerprint, row)
        found = np.argsort(apart, kind="stable")
        found = found[found != row][:NEAREST]
        return found.tolist(), [f"{apart[place]} of 64 bits apart" for place in found], "perceptual hash"
    flat = unit_pixels(key)
    return (*find_nearest(flat @ flat[row], row), "plain pixels")


def find_nearest(cosines: np.ndarray, row: int) -> tuple[list[int], list[str]]:
    """The rows with the largest cosines but for `row` itself, and each one's in words."""
    found = np.argsort(-cosines, kind="stable")
    found = found[found != row][:NEAREST]
    return found.tolist(), [f"cosine {cosines[place]:.2f}" for place in found]


def hash_distances(key: str, fingerprint: str, row: int) -> np.ndarray:
    """(N,) int: in how many bits each row's hash differs from that of one row."""
    hashes = image_hashes(key, fingerprint)
    return np.bitwise_count(hashes ^ hashes[row]).astype(np.int64)


@st.cache_resource(max_entries=4, show_spinner=False)
def image_hashes(key: str, fingerprint: str) -> np.ndarray:
    """(N,) uint64."""
    hashes = read_index(data_root() / key)["hash"].fillna("").tolist()
    return np.array([int(text or "0", 16) for text in hashes], dtype=np.uint64)


@st.cache_resource(max_entries=2, show_spinner=False)
def unit_pixels(key: str) -> np.ndarray:
    """(N, H * W * C) float32, each row centred and of length 1."""
    table = load(key)
    flat = table.pixels.reshape(len(table), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
