"""A set's split and its classes with their images; a press on an image opens it large."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st

from app.data.browse import class_rows, find_classes, make_atlas, most_like
from app.shared.data_split import (
    HELD_OUT_HELP,
    SEED_HELP,
    SHARE_HELP,
    SPLIT_SETTINGS,
    show_split,
    split_choice,
    split_ways,
)
from app.shared.draft import Draft
from app.shared.draft import default_settings as usual_settings
from app.shared.stored_widgets import slid_number, stored_number_input, stored_segments
from app.shared.text import escape_markdown, look_up_words
from app.widgets.tiles import Row, Tile, atlas_carrier, image_tiles
from mlcore.data import ImageTable

PER_PAGE = 12
IN_A_ROW = 18
LARGE = 240  # px


def classes_view(key: str, table: ImageTable) -> None:
    held_out, whole_classes = split_view(key, table)
    st.subheader("Classes", anchor=False)
    left, right = st.columns([0.6, 0.4], vertical_alignment="bottom")
    text = left.text_input("Find a class", key="data.find", placeholder="part of its name", bind="query-params")
    classes = find_classes(table, text)
    pages = max(1, -(-len(classes) // PER_PAGE))
    with right:
        page = st.pagination(pages, key=f"data.page.{key}.{pages}") if pages > 1 else 1
    shown = classes[(page - 1) * PER_PAGE : page * PER_PAGE]
    rows, places = class_rows(table, held_out, shown, whole_classes=whole_classes, most=IN_A_ROW)
    atlas_key = ""
    if places:
        pictures = make_atlas(key, table.fingerprint, places)
        atlas_carrier(pictures, key="data.atlas")
        atlas_key = pictures.key
    pressed = image_tiles(rows, atlas_key=atlas_key, key="data.classes", size=40, empty="No class has that name.")
    if pressed is not None:
        enlarged_image(key, table, held_out, pressed)


def split_view(key: str, table: ImageTable) -> tuple[np.ndarray, bool]:
    """What is held out, as "Train on it" takes it to the Lab; (N,) bool of the rows, and whether whole classes are."""
    st.subheader("Split", anchor=False)
    settings, ways = shown_split(key, table), split_ways(table)
    by_column, one, two = st.columns(3, vertical_alignment="bottom")

    def keep(name: str, widget: Callable[..., object], label: str, *options: object, **more: object) -> None:
        settings[name] = widget(f"data.{name}.{key}", label, *options, settings[name], **more)

    with by_column:
        keep("dataset.split", stored_segments, "Held out", list(ways), words=look_up_words(ways), help=HELD_OUT_HELP)
    by = settings["dataset.split"]
    if by == "fold" and table.folds is not None:
        with one:
            keep("dataset.fold", stored_number_input, "Fold that is held out", 0, int(table.folds.max()))
    elif by != "official":
        with one:
            shares = {"step": 0.05, "format": "%.2f", "help": SHARE_HELP}
            keep("dataset.held_out", slid_number, "Share held out", 0.05, 0.95, **shares)
        with two:
            keep("dataset.split_seed", stored_number_input, "Split seed", 0, 2**31 - 1, help=SEED_HELP)
    held_out = np.zeros(len(table), dtype=bool)
    parted = show_split(split_choice(key, settings), table)
    st.caption("“Train on it” takes this split to the Lab.")
    if parted is None:
        return held_out, by == "class"
    held_out[parted.held_out] = True
    return held_out, len(np.intersect1d(table.labels[parted.held_out], table.labels[parted.train])) == 0


def shown_split(key: str, table: ImageTable) -> dict[str, object]:
    """The settings of the split that the page shows for a set, kept in the session: at first the Lab's own where it has
    the same set, else the split that came with the images, else half of the classes."""
    name, draft, ways = f"data.held.{key}", Draft(), split_ways(table)
    if st.session_state.get(name, {}).get("dataset.split") not in ways:
        there = draft.get("dataset") == key and draft.get("dataset.split") in ways
        usual = usual_settings() | ({"dataset.split": "official"} if "official" in ways else {})
        st.session_state[name] = {name: draft.get(name) if there else usual[name] for name in SPLIT_SETTINGS}
    return st.session_state[name]


@st.dialog("Image", width="large")
def enlarged_image(key: str, table: ImageTable, held_out: np.ndarray, row: int) -> None:
    """One image, large, and what is most like it without any learning."""
    picture, words = st.columns([0.35, 0.65])
    image = table.pixels[row].squeeze()
    times = max(1, LARGE // max(table.image_size))
    picture.image(np.repeat(np.repeat(image, times, axis=0), times, axis=1), width=LARGE)
    words.markdown(f"**{escape_markdown(table.class_names[table.labels[row]])}**")
    words.caption(
        f"{escape_markdown(table.image_names[row])} · image {row} · {'held out' if held_out[row] else 'training'}"
    )
    found, said, by = most_like(key, table.fingerprint, row)
    pictures = make_atlas(key, table.fingerprint, tuple(found))
    atlas_carrier(pictures, key="data.nearest.atlas")
    tiles = tuple(
        Tile(
            place,
            at,
            "right" if table.labels[place] == table.labels[row] else "wrong",
            f"{table.class_names[table.labels[place]]}, {how}",
        )
        for at, (place, how) in enumerate(zip(found, said, strict=True))
    )
    st.caption(f"Nearest by {by}, without any learning:")
    image_tiles([Row("", "", tiles)], atlas_key=pictures.key, key="data.nearest", size=48)
