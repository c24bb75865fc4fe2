"""Which rows are trained on and which are held out to be searched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

WAYS = ("class", "sample", "official", "fold")
CLASS_RULES = ("count_classes", "count_images")
SHUFFLES = 200
TOLERANCE = 0.2  # of the smaller side: how far its share of the images may lie from its share of the classes
TRAIN_WORDS = ("train", "training")
HELD_OUT_WORDS = ("test", "testing", "query", "gallery", "val", "valid", "validation")


@dataclass(frozen=True, eq=False)
class Split:
    """Two disjoint, sorted sets of row numbers that together are the whole table.

    Where an official split says which of the held-out rows ask and which are searched, `queries` and `gallery` are
    those rows; else they are None, and every held-out row asks for the others.

    Shapes: train, held_out, queries and gallery are (n,) int64; `by` is one of WAYS.
    """

    train: np.ndarray
    held_out: np.ndarray
    by: str
    queries: np.ndarray | None = None
    gallery: np.ndarray | None = None

    @property
    def search(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows that ask and those that are searched; None where every held-out row asks for the others."""
        return None if self.queries is None or self.gallery is None else (self.queries, self.gallery)


def split(
    labels: np.ndarray,
    by: str = "class",
    held_out: float = 0.5,
    seed: int = 0,
    *,
    splits: np.ndarray | None = None,
    folds: np.ndarray | None = None,
    fold: int = 0,
    class_rule: str = "count_images",
) -> Split:
    """Hold out a share of the classes (unseen in training) or of every class's samples, or what the data itself says.

    By class: the classes are shuffled and round(held_out * classes) of them, at least one and not all, are held out. By
    the rule "count_images" two classes at least are left to train on, where there are three, and of many shuffles the
    first is taken that leaves both sides classes of several images and about their share of the images, else the one
    that comes nearest. "count_classes" takes the first shuffle, however large its classes are, as runs once did; where
    classes are of one size both are the same.
    By sample: round(held_out * samples) of each class, at least one and not all; a class of one stays in training.
    Official: rows whose word in `splits` is train are trained on; test, validation, query and gallery are all held out.
    Fold: rows of this `fold` are held out, all others trained on.
    Random in `seed` alone, and official and fold not at all: the same labels and seed always give the same split.

    Shapes: labels (N,) integers; splits (N,) words; folds (N,) integers.
    Raises: ValueError if `by` or `held_out` is not understood, if there is too little to hold anything out, or if the
    data has no splits or folds, or not for every row.
    """
    labels = np.asarray(labels)
    if by not in WAYS:
        raise ValueError(f"split: by must be 'class', 'sample', 'official' or 'fold'; got {by!r}.")
    if not 0.0 < held_out < 1.0:
        raise ValueError(f"split: held_out must be a share between 0 and 1, both excluded; got {held_out!r}.")
    if class_rule not in CLASS_RULES:
        raise ValueError(f"split: class_rule must be 'count_classes' or 'count_images'; got {class_rule!r}.")
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"split: labels must be one number per row; got shape {labels.shape}.")
    generator = np.random.default_rng(seed)
    asks: dict[str, np.ndarray] = {}
    if by == "official":
        if splits is None:
            raise ValueError(
                "split: an official split is one that the data came with; this set has none. Split by class."
            )
        mask = official_split(splits, len(labels))
        asks = query_and_gallery(splits)
    elif by == "fold":
        mask = one_fold(folds, fold, len(labels))
    elif by == "sample":
        mask = hold_samples(labels, held_out, generator)
    else:
        hold = hold_classes if class_rule == "count_classes" else hold_classes_by_images
        mask = hold(labels, held_out, generator)
    return Split(train=np.flatnonzero(~mask), held_out=np.flatnonzero(mask), by=by, **asks)


def official_split(words: Iterable[str], count: int | None = None) -> np.ndarray:
    """(N,) bool: the rows that the data's own split column holds out.

    Raises: ValueError if a row has no word or one that is not known, or one side is empty.
    """
    plain = plain_words(words)
    if count is not None and len(plain) != count:
        raise ValueError(f"split: there must be one split word for each of {count} rows; got {len(plain)}.")
    empty = int((plain == "").sum())
    if empty:
        cure = "Split by class." if empty == len(plain) else "Fill them in, or split by class."
        raise ValueError(f"split: the official split must have a word for every row; {empty} have none. {cure}")
    held, trained = np.isin(plain, HELD_OUT_WORDS), np.isin(plain, TRAIN_WORDS)
    unknown = plain[~(held | trained)]
    if len(unknown):
        known = ", ".join((TRAIN_WORDS[0], *HELD_OUT_WORDS))
        raise ValueError(f"split: a split word is one of {known}; got {unknown[0]!r}.")
    if held.all() or trained.all():
        raise ValueError(f"split: the official split must have both sides; every row is '{plain[0]}'. Split by class.")
    return held


def plain_words(words: Iterable[str]) -> np.ndarray:
    return np.array([str(word).strip().lower() for word in words], dtype=object)


def query_and_gallery(words: Iterable[str]) -> dict[str, np.ndarray]:
    """The rows that ask and those that are searched, where there are both; else nothing."""
    plain = plain_words(words)
    rows = {"queries": np.flatnonzero(plain == "query"), "gallery": np.flatnonzero(plain == "gallery")}
    return rows if all(map(len, rows.values())) else {}


def one_fold(folds: np.ndarray | None, fold: int, count: int) -> np.ndarray:
    """(N,) bool: the rows of one fold. Raises: ValueError if the data has no folds, not for all rows, or not this."""
    if folds is None:
        raise ValueError("split: the data has no folds. Make them: python -m mlcore prepare SET --split folds:5")
    folds = np.asarray(folds)
    if folds.shape != (count,):
        raise ValueError(f"split: there must be one fold for each of {count} rows; got shape {folds.shape}.")
    known = np.unique(folds)
    if known[0] < 0:
        raise ValueError(f"split: every row needs a fold; {int((folds < 0).sum())} have none. Fill them in.")
    if len(known) < 2:
        raise ValueError(f"split: there must be two folds at least; every row is in fold {known[0]}.")
    if fold not in known:
        raise ValueError(f"split: fold must be one of {', '.join(map(str, known))}; got {fold}.")
    return folds == fold


def hold_classes(labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """(N,) bool: the rows of the held-out classes, the first of a shuffle."""
    classes = several_classes(labels)
    return np.isin(labels, generator.permutation(classes)[: held_count(len(classes), share)])


def hold_classes_by_images(labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """(N,) bool: the rows of the held-out classes, of the shuffle that parts the images best."""
    classes = several_classes(labels)
    images = np.bincount(np.searchsorted(classes, labels))
    count = min(held_count(len(classes), share), max(1, len(classes) - 2))
    best, least = np.zeros(len(classes), dtype=bool), (np.inf, np.inf, np.inf)
    for _ in range(SHUFFLES):
        held = np.zeros(len(classes), dtype=bool)
        held[generator.permutation(len(classes))[:count]] = True
        amiss = what_is_amiss(images, held)
        if amiss < least:
            best, least = held, amiss
        if not any(least):
            break
    return np.isin(labels, classes[best])


def several_classes(labels: np.ndarray) -> np.ndarray:
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError("split: holding out classes needs at least two classes; got one. Split by sample instead.")
    return classes


def what_is_amiss(images: np.ndarray, held: np.ndarray) -> tuple[float, float, float]:
    """How many classes of several images training lacks of two, how many the held-out side does, and how far the share
    of the images that is held out lies from that of the classes, beyond what is tolerated; all 0 for a good split.

    Images too many held out weigh twice as much as too few: nothing is learned from them.

    Shapes: images (C,) of each class; held (C,) bool.
    """
    several = images > 1
    wanted = float(held.mean())
    over = float(images[held].sum() / images.sum()) - wanted
    apart = max(0.0, max(2.0 * over, -over) - TOLERANCE * min(wanted, 1.0 - wanted))
    return max(0, 2 - int(several[~held].sum())), max(0, 2 - int(several[held].sum())), apart


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
