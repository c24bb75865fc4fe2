"""A set's split and its classes with their images; a press on an image opens it large."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app.browse import class_rows, classes_named, most_like, pictures_of, split_of
from app.tiles import Row, Tile, atlas_carrier, image_tiles
from app.words import count, plain
from mlcore.data import ImageTable

PER_PAGE = 12
IN_A_ROW = 18
LARGE = 240  # px


def classes_view(key: str, table: ImageTable) -> None:
    held_out, whole_classes = split_view(key, table)
    st.subheader("Classes", anchor=False)
    left, right = st.columns([0.6, 0.4], vertical_alignment="bottom")
    text = left.text_input("Find a class", key="data.find", placeholder="part of its name")
    classes = classes_named(table, text)
    pages = max(1, -(-len(classes) // PER_PAGE))
    with right:
        page = st.pagination(pages, key=f"data.page.{key}.{pages}") if pages > 1 else 1
    shown = classes[(page - 1) * PER_PAGE : page * PER_PAGE]
    rows, places = class_rows(table, held_out, shown, whole_classes=whole_classes, most=IN_A_ROW)
    atlas_key = ""
    if places:
        pictures = pictures_of(key, table.fingerprint, places)
        atlas_carrier(pictures, key="data.atlas")
        atlas_key = pictures.key
    pressed = image_tiles(rows, atlas_key=atlas_key, key="data.classes", size=40, empty="No class has that name.")
    if pressed is not None:
        large(key, table, held_out, pressed)


def split_view(key: str, table: ImageTable) -> tuple[np.ndarray, bool]:
    """How a run would hold images out; (N,) bool of the rows, and whether whole classes are."""
    st.subheader("Split", anchor=False)
    hows = {"class": "Classes", "sample": "Images"}
    hows |= {"official": "As given"} if table.splits is not None else {}
    hows |= {"fold": "Fold"} if table.folds is not None else {}
    by_column, one, two = st.columns(3, vertical_alignment="bottom")
    by = by_column.segmented_control(
        "Held out",
        list(hows),
        format_func=hows.get,
        default="official" if "official" in hows else "class",
        required=True,
        key=f"data.by.{key}",
        help="Classes: those searched are never trained on. Images: every class is trained on, others of its images "
        "are searched.",
    )
    share, seed, fold = 0.5, 0, 0
    if by in ("class", "sample"):
        share = one.slider("Share held out", 0.1, 0.9, 0.5, 0.05, key="data.share", format="%.2f")
        seed = two.number_input("Seed of the split", 0, 2**31 - 1, 0, key="data.seed")
    elif by == "fold":
        fold = one.number_input("Fold that is held out", 0, int(table.folds.max()), 0, key="data.fold")
    held_out = np.zeros(len(table), dtype=bool)
    try:
        parted = split_of(key, table.fingerprint, by, share, seed, int(fold))
    except ValueError as error:
        st.warning(plain(str(error), 400), icon=":material/info:")
        return held_out, by == "class"
    held_out[parted.held_out] = True
    held_classes, train_classes = np.unique(table.labels[parted.held_out]), np.unique(table.labels[parted.train])
    st.caption(
        f"Training: {count(len(parted.train), 'image')} of {count(len(train_classes), 'class', 'classes')}. "
        f"Held out: {count(len(parted.held_out), 'image')} of {count(len(held_classes), 'class', 'classes')}."
    )
    return held_out, len(np.intersect1d(held_classes, train_classes)) == 0


@st.dialog("Image", width="large")
def large(key: str, table: ImageTable, held_out: np.ndarray, row: int) -> None:
    """One image, large, and what is most like it without any learning."""
    picture, words = st.columns([0.35, 0.65])
    image = table.pixels[row].squeeze()
    times = max(1, LARGE // max(table.image_size))
    picture.image(np.repeat(np.repeat(image, times, axis=0), times, axis=1), width=LARGE)
    words.markdown(f"**{plain(table.class_names[table.labels[row]])}**")
    words.caption(f"{plain(table.image_names[row])} · image {row} · {'held out' if held_out[row] else 'training'}")
    found, said, by = most_like(key, table.fingerprint, row)
    pictures = pictures_of(key, table.fingerprint, tuple(found))
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
