"""Which rows are trained on and which are held out to be searched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Two disjoint, sorted sets of row numbers that together are the whole table.

    Shapes: train and held_out are (n,) int64; `by` is "class" or "sample".
    """

    train: np.ndarray
    held_out: np.ndarray
    by: str


def split(labels: np.ndarray, by: str = "class", held_out: float = 0.5, seed: int = 0) -> Split:
    """Hold out a share of the classes (unseen in training) or of every class's samples.

    By class: the classes are shuffled and round(held_out * classes) of them, at least one and not all, are held out.
    By sample: round(held_out * samples) of each class, at least one and not all; a class of one stays in training.
    Random in `seed` alone: the same labels and seed always give the same split.

    Shapes: labels (N,) integers.
    Raises: ValueError if `by` or `held_out` is not understood, or if there is too little to hold anything out.
    """
    labels = np.asarray(labels)
    if by not in ("class", "sample"):
        raise ValueError(f"split: by must be 'class' or 'sample'; got {by!r}.")
    if not 0.0 < held_out < 1.0:
        raise ValueError(f"split: held_out must be a share between 0 and 1, both excluded; got {held_out!r}.")
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"split: labels must be one number per row; got shape {labels.shape}.")
    generator = np.random.default_rng(seed)
    mask = (hold_classes if by == "class" else hold_samples)(labels, held_out, generator)
    return Split(train=np.flatnonzero(~mask), held_out=np.flatnonzero(mask), by=by)


def hold_classes(labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """(N,) bool: the rows of the held-out classes."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError("split: holding out classes needs at least two classes; got one. Split by sample instead.")
    return np.isin(labels, generator.permutation(classes)[: held_count(len(classes), share)])


def hold_samples(labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """(N,) bool: the held-out rows of every class."""
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            mask[generator.permutation(rows)[: held_count(len(rows), share)]] = True
    if not mask.any():
        raise ValueError("split: every class has one sample, so none can be held out. Split by class instead.")
    return mask


def held_count(count: int, share: float) -> int:
    """The whole number nearest `share * count` (halves up) that leaves both sides something."""
    return min(max(int(share * count + 0.5), 1), count - 1)
