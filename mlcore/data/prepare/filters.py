"""Which images stay: by the length of their sides and by how many their class has."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlcore.data.prepare.index import class_codes


def by_side(index: pd.DataFrame, smallest: int | None = None, largest: int | None = None) -> np.ndarray:
    """(N,) bool: images whose shorter side has at least `smallest` px and whose longer one at most `largest`.

    Raises: ValueError if a size is unknown.
    """
    width, height = index["width"].to_numpy(), index["height"].to_numpy()
    if (width <= 0).any() or (height <= 0).any():
        raise ValueError("sides: width and height of every image must be known; some are not. Import the set first.")
    keep = np.ones(len(index), dtype=bool)
    if smallest is not None:
        keep &= np.minimum(width, height) >= smallest
    if largest is not None:
        keep &= np.maximum(width, height) <= largest
    return keep


def by_count(
    index: pd.DataFrame, fewest: int | None = None, most: int | None = None, *, undersample: bool = True, seed: int = 0
) -> np.ndarray:
    """(N,) bool: images of classes that have at least `fewest`, and at most `most` images of each.

    A class with more than `most` keeps that many, drawn by `seed`; without `undersample` it is left out whole.
    """
    codes, names = class_codes(index)
    counts = np.bincount(codes, minlength=len(names))
    keep = np.ones(len(index), dtype=bool)
    if fewest is not None:
        keep &= counts[codes] >= fewest
    if most is not None and undersample:
        keep &= place_in_class(codes, np.random.default_rng(seed).random(len(codes))) < most
    elif most is not None:
        keep &= counts[codes] <= most
    return keep


def place_in_class(codes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(N,) int64: 0 for the row of its class that comes first by `order`, 1 for the next, and so on."""
    rows = np.lexsort((order, codes))
    sorted_codes = codes[rows]
    starts = np.flatnonzero(np.r_[True, sorted_codes[1:] != sorted_codes[:-1]])[: len(codes)]
    lengths = np.diff(np.r_[starts, len(codes)])
    places = np.empty(len(codes), dtype=np.int64)
    places[rows] = np.arange(len(codes)) - np.repeat(starts, lengths)
    return places
