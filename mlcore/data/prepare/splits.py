"""Which rows are trained on, which are held out, and in which fold each lies: columns for an index."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlcore.data.prepare.filters import place_in_class
from mlcore.data.prepare.index import class_codes
from mlcore.data.splits import official_split, split

TRAIN, TEST = "train", "test"


def by_class(index: pd.DataFrame, held_out: float = 0.5, seed: int = 0) -> np.ndarray:
    """(N,) words: a share of the classes is 'test', drawn as `mlcore.data.split` draws."""
    return split_column(split(class_codes(index)[0], "class", held_out, seed).held_out, len(index))


def by_sample(index: pd.DataFrame, held_out: float = 0.2, seed: int = 0) -> np.ndarray:
    """(N,) words: the same share of every class is 'test'; a class of one image stays in training."""
    return split_column(split(class_codes(index)[0], "sample", held_out, seed).held_out, len(index))


def by_counts(index: pd.DataFrame, low: int, high: int) -> np.ndarray:
    """(N,) words: classes of `low` to `high` images, both included, are 'train', the others 'test'.

    Raises: ValueError if that leaves one side empty.
    """
    codes, names = class_codes(index)
    counts = np.bincount(codes, minlength=len(names))
    inside = (counts >= low) & (counts <= high)
    if inside.all() or not inside.any():
        which = "every class has" if inside.all() else "no class has"
        raise ValueError(
            f"split by counts: some classes must have {low} to {high} images and some not; {which}. The classes have "
            f"{counts.min()} to {counts.max()}."
        )
    return split_column(np.flatnonzero(~inside[codes]), len(index))


def by_official(index: pd.DataFrame) -> np.ndarray:
    """(N,) words: the split that the set came with, each word as we write it.

    Raises: ValueError if there is none, a row is without, a word is unknown, or a side is empty.
    """
    column = index["split"].to_numpy(dtype=object)
    official_split(column)
    return np.array([str(word).strip().lower() for word in column], dtype=object)


def query_gallery(index: pd.DataFrame, queries: int = 1, seed: int = 0) -> np.ndarray:
    """(N,) words: of the rows held out, `queries` of each class ask ('query'), the others are searched ('gallery').

    At least one image of a class stays in the gallery, so that each query can be answered; a class of one is gallery.
    Raises: ValueError if there is no split yet, or no class with two images held out.
    """
    sides = by_official(index)
    held = np.flatnonzero(sides != TRAIN)
    codes = class_codes(index)[0][held]
    counts = np.bincount(codes)
    place = place_in_class(codes, np.random.default_rng(seed).random(len(codes)))
    asks = place < np.minimum(queries, counts[codes] - 1)
    if not asks.any():
        raise ValueError("query and gallery: a class must have two images held out; none has. Hold out more of them.")
    sides[held] = np.where(asks, "query", "gallery")
    return sides


def assign_folds(index: pd.DataFrame, count: int = 5, by: str = "sample", seed: int = 0) -> np.ndarray:
    """(N,) int64 fold of each row, 0 .. count-1.

    By sample, each class's images are dealt out evenly (their numbers in any two folds differ by one at most, and so do
    the folds' sizes). By class, whole classes are dealt, equally many to a fold within one, large ones first and always
    to the fold that has fewest images, so that folds are alike in images too.
    Raises: ValueError for fewer than two folds, or more folds than there are images or classes to deal.
    """
    codes, names = class_codes(index)
    if by not in ("sample", "class"):
        raise ValueError(f"folds: by must be 'sample' or 'class'; got {by!r}.")
    most, noun = (len(codes), "images") if by == "sample" else (len(names), "classes")
    if not 2 <= count <= most:
        raise ValueError(
            f"folds: there must be 2 folds at least, and at most one for each of {most} {noun}; got {count}."
        )
    generator = np.random.default_rng(seed)
    if by == "class":
        return deal_classes(np.bincount(codes, minlength=len(names)), count, generator)[codes]
    rows = np.lexsort((generator.random(len(codes)), generator.permutation(len(names))[codes]))
    fold = np.empty(len(codes), dtype=np.int64)
    fold[rows] = generator.permutation(count)[np.arange(len(codes)) % count]
    return fold


def deal_classes(counts: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """(C,) int64 fold of each class: in rounds of one class a fold, the larger classes to the emptier folds."""
    order = np.lexsort((generator.random(len(counts)), -counts))
    fold = np.empty(len(counts), dtype=np.int64)
    images = np.zeros(folds)
    for start in range(0, len(order), folds):
        classes = order[start : start + folds]
        emptiest = np.lexsort((generator.random(folds), images))[: len(classes)]
        fold[classes] = emptiest
        images[emptiest] += counts[classes]
    return fold


def split_column(held_out: np.ndarray, count: int) -> np.ndarray:
    sides = np.full(count, TRAIN, dtype=object)
    sides[held_out] = TEST
    return sides
