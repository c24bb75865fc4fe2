"""Several sets as one."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import pandas as pd


def merge(sets: Mapping[str, pd.DataFrame], *, same_labels: str = "join") -> pd.DataFrame:
    """The rows of all sets, one set after the other, with a column `set`; `row` stays the number within its set.

    Files, and unless `same_labels` is "join" labels and parents too, get their set's name and a slash in front.
    With "join" a class of the same name in two sets is one class: right for two deliveries of one catalogue, wrong
    where both just number their classes.
    Raises: ValueError for no set, an unknown `same_labels`, or a class that has two parents once it is joined.
    """
    if same_labels not in ("join", "apart"):
        raise ValueError(f"merge: same_labels must be 'join' or 'apart'; got {same_labels!r}.")
    if not sets:
        raise ValueError("merge: there must be at least one set; got none.")
    prefixed = ("file",) if same_labels == "join" else ("file", "label", "parent")
    parts = []
    for name, index in sets.items():
        part = index.copy()
        for column in ("label", "parent"):
            part[column] = part[column].map(normalize_name)
        for column in prefixed:
            part[column] = part[column].where(part[column] == "", f"{name}/" + part[column])
        parts.append(part.assign(set=name))
    merged = pd.concat(parts, ignore_index=True)
    parents = merged[merged["parent"] != ""].groupby("label")["parent"].agg(lambda words: sorted(set(words)))
    torn = parents[parents.map(len) > 1]
    if len(torn):
        raise ValueError(
            f"merge: a class must have one parent; '{torn.index[0]}' has {' and '.join(torn.iloc[0])}. "
            "Merge with same_labels='apart', or rename one."
        )
    return merged


def normalize_name(word: str) -> str:
    """A name with its accents written in the one way in which names are compared."""
    return unicodedata.normalize("NFC", word)


def shared_labels(sets: Mapping[str, pd.DataFrame]) -> list[str]:
    """The class names that occur in more than one set."""
    seen = pd.Series(
        [label for index in sets.values() for label in index["label"].map(normalize_name).unique()], dtype=object
    )
    counts = seen.value_counts()
    return sorted(counts.index[counts > 1])
