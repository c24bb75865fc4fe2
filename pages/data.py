"""Data: the image sets, their classes and images, the split, where they come from."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app.browse import (
    browsed,
    class_rows,
    classes_named,
    groups_text,
    mosaic,
    nearest_by_pixels,
    set_titles,
    split_of,
)
from app.tiles import Row, Tile, atlas_carrier, image_tiles
from app.url import mirror
from app.words import count, plain
from mlcore.catalogue import parts

PER_PAGE = 12
IN_A_ROW = 18
CARD_TILES = 10

titles = set_titles()
asked = st.query_params.get("set")
if st.session_state.get("data.set") not in titles:
    st.session_state["data.set"] = asked if asked in titles else next(iter(titles))


def choose(key: str) -> None:
    st.session_state["data.set"] = key
    st.session_state.pop("data.row", None)


st.title("Data", anchor=False)
cards = st.columns(len(titles))
for card, (key, title) in zip(cards, titles.items(), strict=True):
    table, pictures = mosaic(key, CARD_TILES)
    with card.container(border=True):
        chosen = st.session_state["data.set"] == key
        st.button(
            title,
            key=f"data.card.{key}",
            type="primary" if chosen else "secondary",
            icon=":material/check:" if chosen else None,
            width="stretch",
            on_click=choose,
            args=(key,),
        )
        atlas_carrier(pictures, key=f"data.mosaic.{key}")
        tiles = tuple(Tile(place, place, "none", "") for place in range(pictures.count))
        image_tiles([Row("", "", tiles)], atlas_key=pictures.key, key=f"data.tiles.{key}", size=32)
        st.caption(f"{count(len(table), 'image')}, {count(len(table.class_names), 'class', 'classes')}")

key = st.session_state["data.set"]
mirror({"set": key}, "set".__eq__)
table, pictures = browsed(key)
atlas_carrier(pictures, key="data.atlas")
spec = parts("datasets")[key]

st.subheader(spec.title, anchor=False)
st.markdown(spec.text.split("\n\n")[0])
sizes = np.bincount(table.labels)
height, width = table.image_size
facts = st.columns(4)
facts[0].metric("Images", f"{len(table):,}")
facts[1].metric("Classes", f"{len(table.class_names):,}")
facts[2].metric(
    "Images per class", f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
)
facts[3].metric("Size", f"{width} × {height} px, {'grey' if table.channels == 1 else 'colour'}")
if groups := groups_text(table):
    st.caption(groups)
with st.expander("Origin and licence", icon=":material/copyright:"):
    st.markdown(plain(table.origin, 2000))
    st.markdown(plain(table.licence, 2000))
    st.caption(f"Fingerprint (sha256): {table.fingerprint}")

st.subheader("Split", anchor=False)
by_column, share_column, seed_column = st.columns(3, vertical_alignment="bottom")
by = by_column.segmented_control(
    "Held out",
    ["class", "sample"],
    format_func={"class": "Classes", "sample": "Images"}.get,
    default="class",
    required=True,
    key="data.by",
    help="Classes: those searched are never trained on. Images: every class is trained on, others of its images "
    "are searched.",
)
held_share = share_column.slider("Share held out", 0.1, 0.9, 0.5, 0.05, key="data.share", format="%.2f")
seed = seed_column.number_input("Seed of the split", 0, 2**31 - 1, 0, key="data.seed")
parted = split_of(key, by, held_share, seed)
held_out = np.zeros(len(table), dtype=bool)
held_out[parted.held_out] = True
held_classes = len(np.unique(table.labels[parted.held_out]))
train_classes = len(np.unique(table.labels[parted.train]))
st.caption(
    f"Training: {count(len(parted.train), 'image')} of {count(train_classes, 'class', 'classes')}. "
    f"Held out: {count(len(parted.held_out), 'image')} of {count(held_classes, 'class', 'classes')}."
)

st.subheader("Classes", anchor=False)
left, right = st.columns([0.6, 0.4], vertical_alignment="bottom")
text = left.text_input("Find a class", key="data.find", placeholder="part of its name")
classes = classes_named(table, text)
pages = max(1, -(-len(classes) // PER_PAGE))
with right:
    page = st.pagination(pages, key=f"data.page.{key}.{pages}") if pages > 1 else 1
shown = classes[(page - 1) * PER_PAGE : page * PER_PAGE]
pressed = image_tiles(
    class_rows(table, held_out, shown, by=by, most=IN_A_ROW),
    atlas_key=pictures.key,
    key="data.classes",
    size=40,
    selected=() if st.session_state.get("data.row") is None else (st.session_state["data.row"],),
    empty="No class has that name.",
)


@st.dialog("Image", width="large")
def large(row: int) -> None:
    """One image, large, and what is most like it pixel by pixel."""
    picture, words = st.columns([0.35, 0.65])
    picture.image(np.repeat(np.repeat(table.pixels[row].squeeze(), 6, axis=0), 6, axis=1), width=240)
    side = "held out" if held_out[row] else "training"
    words.markdown(f"**{plain(table.class_names[table.labels[row]])}**")
    words.caption(f"{plain(table.image_names[row])} · image {row} · {side}")
    found, cosines = nearest_by_pixels(key, row)
    tiles = tuple(
        Tile(
            int(place),
            int(place),
            "right" if table.labels[place] == table.labels[row] else "wrong",
            f"{table.class_names[table.labels[place]]}, cosine {cosine:.2f}",
        )
        for place, cosine in zip(found, cosines, strict=True)
    )
    st.caption("Nearest by plain pixels, without any learning:")
    image_tiles([Row("", "", tiles)], atlas_key=pictures.key, key="data.nearest", size=48)


if pressed is not None:
    large(pressed)
