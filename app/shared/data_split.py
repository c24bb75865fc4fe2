"""What a split holds out, in numbers, and what it cannot give: the same words in the Lab and on the Data page."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st

from app.shared.text import count, escape_markdown
from mlcore.data import ImageTable, Split, load
from mlcore.spec.concerns import split_concerns
from mlcore.spec.data_split import build_split
from mlcore.spec.sections import DataChoice

HELD_OUT_HELP = (
    "Classes: those searched are never trained on, as in retrieval. Images: every class is trained on, other images of "
    "it are searched."
)
SHARE_HELP = "Of the classes, or of each class's images: how the data is split."
SEED_HELP = "Another seed holds out others."
SPLIT_SETTINGS = ("dataset.split", "dataset.held_out", "dataset.split_seed", "dataset.fold", "dataset.class_rule")


def split_ways(table: ImageTable) -> dict[str, str]:
    """What can be held out, by its name in a spec; a split or folds that came with the images where there are any."""
    ways = {"class": "Classes", "sample": "Images"}
    ways |= {"official": "The set's own split"} if table.splits is not None else {}
    return ways | ({"fold": "Fold"} if table.folds is not None else {})


def split_choice(key: str, settings: Mapping[str, object]) -> DataChoice:
    """The choice of a spec that the dotted settings of a split make."""
    known = {name.removeprefix("dataset."): settings[name] for name in SPLIT_SETTINGS if settings.get(name) is not None}
    return DataChoice(key=key, **known)


@st.cache_data(max_entries=64, show_spinner=False)
def cached_split(choice_json: str, fingerprint: str) -> Split:
    choice = DataChoice.model_validate_json(choice_json)
    return build_split(choice, load(choice.key, **choice.params))


def show_split(choice: DataChoice, table: ImageTable) -> Split | None:
    """Say how many images and classes are on each side, and what cannot be learned or measured.

    Returns the split, or None where there can be none, which is said.
    """
    try:
        parted = cached_split(choice.model_dump_json(), table.fingerprint)
    except ValueError as error:
        st.warning(escape_markdown(str(error), 400), icon=":material/info:")
        return None
    st.caption(split_words(table, parted))
    if choice.split == "class" and choice.class_rule == "count_classes":
        st.caption("Classes are counted, however many images they have, as in older runs.")
    for concern in split_concerns(table, parted):
        st.warning(escape_markdown(concern.text, 400), icon=":material/warning:")
    return parted


def split_words(table: ImageTable, parted: Split) -> str:
    """'Training: 1,116 images of 31 classes. Held out: 1,116 images of 31 classes.'"""
    told = []
    for name, rows in (("Training", parted.train), ("Held out", parted.held_out)):
        classes = len(np.unique(table.labels[rows]))
        told.append(f"{name}: {count(len(rows), 'image')} of {count(classes, 'class', 'classes')}.")
    return " ".join(told)
