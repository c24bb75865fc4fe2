"""What a person should know of an imported set: notes on its labels, and on how its images came out."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlcore.data.decoding import BOX_CUT, BRIGHTER, DAMAGED_EXIF, ON_BLACK, ONE_COLOUR, UNCOVERED
from mlcore.data.natural_order import natural_key

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5  # names in a note
VECTOR_NOTE = (
    "These are feature vectors, not images: each is shown as a grey picture of its first 256 numbers, and trains a "
    "head only."
)
REMARKS_IN_WORDS = {  # of one image, of several
    ONE_COLOUR: (
        "came out of one colour all over: there is nothing in it to learn from",
        "came out of one colour all over: there is nothing in them to learn from",
    ),
    DAMAGED_EXIF: ("has damaged EXIF and is taken as it lies", "have damaged EXIF and are taken as they lie"),
    BOX_CUT: (
        "has a box that goes beyond it; what is inside is taken",
        "have boxes that go beyond them; what is inside is taken",
    ),
    ON_BLACK: (
        "is put on black, for it is transparent and white hides it",
        "are put on black, for they are transparent and white hides them",
    ),
    UNCOVERED: (
        "is transparent all over; what is beneath is taken",
        "are transparent all over; what is beneath is taken",
    ),
    BRIGHTER: (
        "uses few of its 16 bits and is made brighter, or nothing would be seen",
        "use few of their 16 bits and are made brighter, each by itself, or nothing would be seen",
    ),
}


def notes_on_labels(index: pd.DataFrame, left: pd.DataFrame) -> list[str]:
    """What a person should know of a set's labels, a sentence each."""
    notes = []
    counts = index.label.value_counts(sort=False)
    alone = sorted(counts[counts == 1].index, key=natural_key)
    if alone:
        notes.append(
            f"{join_first_names(alone)} {'has' if len(alone) == 1 else 'have'} one image: "
            "a search for it has nothing to find."
        )
    if len(counts) == 1:
        notes.append(f"There is one class, '{counts.index[0]}': nothing can be told apart.")
    unlabelled = int(left.reason.str.contains("it has no label|lies in no class folder").sum())
    if unlabelled:
        told = "1 image has no label and was" if unlabelled == 1 else f"{unlabelled} images have no label and were"
        notes.append(f"{told} left out.")
    folded = Counter(unicodedata.normalize("NFC", name).casefold() for name in counts.index)
    twins = sorted(name for name in counts.index if folded[unicodedata.normalize("NFC", name).casefold()] > 1)
    if twins:
        notes.append(f"{join_first_names(twins)} differ by upper and lower case only, and are taken as different.")
    with_parent = index[["label", "parent"]].drop_duplicates()
    several = sorted(with_parent.label[with_parent.label.duplicated()].unique())
    if several and index.parent.notna().any():
        notes.append(f"Parents are not used: {join_first_names(several)} must have one parent each.")
    elif index.parent.notna().any() and index.parent.isna().any():
        notes.append("Parents are not used: some classes have none.")
    return notes


def notes_on_decoding(remarks: Mapping[str, Sequence[int]]) -> list[str]:
    """What a person should know of how images came out, a sentence for each kind of remark."""
    notes = []
    for remark, (one, several) in REMARKS_IN_WORDS.items():
        count = len(remarks.get(remark, ()))
        if count:
            notes.append(f"{count:,} image{' ' + one if count == 1 else 's ' + several}.")
    return notes


def join_first_names(names: list[str]) -> str:
    shown = ", ".join(f"'{name[:60]}'" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
