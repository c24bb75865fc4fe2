"""Which text belongs to which image, and how texts are compared."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

OWN, CLASS_NAMES = "own", "class names"
SOURCES = (OWN, CLASS_NAMES)
NO_TEXT = -1


@dataclass(frozen=True, eq=False)
class Texts:
    """The distinct texts of a set and each image's number among them, NO_TEXT (-1) where it has none.

    Shapes: numbers (N,) int64; train and held_out (n,) int64, rows of each side of the split.
    """

    names: tuple[str, ...]
    numbers: np.ndarray
    train: np.ndarray
    held_out: np.ndarray

    def digest(self) -> str:
        """sha256 of every image's text: equal digests train alike."""
        return hashlib.sha256(repr((self.names, self.numbers.tolist())).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class ImageTexts:
    """What a set offers as texts: the images' own (none: an empty tuple) and the names of their classes.

    Shapes: own N texts or none; labels (N,) int64; train and held_out (n,) int64 rows.
    """

    own: tuple[str, ...]
    class_names: tuple[str, ...]
    labels: np.ndarray
    train: np.ndarray
    held_out: np.ndarray

    def taken(self, source: str) -> Texts:
        """The images' own texts, or their classes' names with underscores as spaces.

        Raises: ValueError, with the cure, where fewer than two different texts can be trained on.
        """
        if source == CLASS_NAMES:
            words = [normalize_text(name.replace("_", " ")) for name in self.class_names]
            given = [words[label] for label in self.labels]
        elif self.own:
            given = [normalize_text(text) for text in self.own]
        else:
            raise ValueError(
                "image_text: these images have no texts. Train on the names of their classes "
                f"(method.texts='{CLASS_NAMES}'), import a table with a column 'text', or take the emoji."
            )
        names, numbers = number_texts(given)
        if len(np.unique(numbers[self.train][numbers[self.train] >= 0])) < 2:
            raise ValueError(
                "image_text: there must be two different texts among the training images at least; there are fewer. "
                f"Fill in the column 'text', or train on the names of the classes (method.texts='{CLASS_NAMES}')."
            )
        return Texts(names, numbers, self.train, self.held_out)


def normalize_text(text: str) -> str:
    """One writing for each text: Unicode NFKC, without spaces around or doubled."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def number_texts(given: Iterable[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The distinct texts, in the order they first come in, and each one's number (N,) int64; '' has NO_TEXT."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(text, len(numbers)) if text else NO_TEXT for text in given]
    return tuple(numbers), np.array(found, dtype=np.int64)
