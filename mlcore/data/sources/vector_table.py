"""What every file of feature vectors comes down to: a table of numbers and words, and the limits of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from mlcore.declare import nearest_word

ROW_LIMIT = 2_000_000
COLUMN_LIMIT = 65_536
VALUE_LIMIT = 2**30  # numbers of all vectors together: 4 GB as they are kept
WORDS_LIMIT = 512 * 2**20  # bytes of all labels or names, as an array keeps them
MEMBER_LIMIT = 1000
READ = 8 * 2**20  # bytes
SIDES = (8, 16)  # px of the square that shows a vector
PART = 4096  # rows
NUMBERS = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}
WORDS = {**NUMBERS, "U": None, "S": None, "b": (1,)}
VECTORS = ("vectors", "vector", "embeddings", "embedding", "features", "feature", "x")
LABELS = ("labels", "label", "y", "classes", "class", "targets", "target")
EXTRAS = {"name": ("names", "name", "files", "file"), "split": ("splits", "split"), "fold": ("folds", "fold")}
EXTRAS |= {"parent": ("parents", "parent")}


@dataclass(frozen=True, eq=False)
class Table:
    """What a file holds. Shapes: vectors (N, D) float32; labels and each of `extras` N texts, '' where there is none.

    `why` says by row what is wrong with a vector, beside numbers that are not finite.
    """

    vectors: np.ndarray
    labels: Sequence[str]
    extras: Mapping[str, Sequence[str]]
    why: dict[int, str]


def check_shape(who: str, rows: int, columns: int) -> None:
    """Raises: ValueError for more numbers than are read or than there is memory for."""
    if rows > ROW_LIMIT or not 1 <= columns <= COLUMN_LIMIT or rows * columns > VALUE_LIMIT:
        raise ValueError(
            f"{who}: at most {ROW_LIMIT:,} vectors of 1 to {COLUMN_LIMIT:,} numbers, {VALUE_LIMIT:,} in all, are read; "
            f"it says {rows:,} of {columns:,}. Divide it."
        )
    if 4 * rows * columns > psutil.virtual_memory().available:
        raise ValueError(f"{who}: its vectors take {4 * rows * columns / 2**30:.1f} GB, more memory than is free.")


def find_column(who: str, asked: str | None, known: Sequence[str], there: Sequence[str], what: str) -> str:
    """Which of `there` is meant. Raises: ValueError if it is not there."""
    if asked is not None:
        if asked not in there:
            raise ValueError(f"{who}: has no {what} '{asked}'.{nearest_word(asked, there)}")
        return asked
    lower = {name.lower(): name for name in reversed(there)}
    found = next((lower[name] for name in known if name in lower), None)
    if found is None:
        raise ValueError(
            f"{who}: must have {known[0]}, called '{known[0]}' or '{known[2]}'; it has {', '.join(there) or 'nothing'}."
            f" Name yours: --option {known[0]}=NAME"
        )
    return found


def extras_among(there: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Which array or column holds the names, splits, folds and parents, where there are any."""
    lower = {name.lower(): name for name in reversed(there) if name not in taken}
    found = {extra: next((lower[name] for name in known if name in lower), None) for extra, known in EXTRAS.items()}
    return {extra: name for extra, name in found.items() if name is not None}


def column_words(path: Path, name: str, column: np.ndarray) -> list[str]:
    """Each value as text. Raises: ValueError for numbers that are not whole, or bytes that are no text."""
    if column.dtype.kind == "f":
        whole = np.isfinite(column) & (np.abs(column) < 2**53)
        if (column[whole] % 1 != 0).any():
            raise ValueError(f"{path.name}: '{name}' must be words or whole numbers; it has fractions.")
        return [str(int(value)) if good else "" for value, good in zip(column, whole, strict=True)]
    try:
        words = np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: '{name}' must be text in UTF-8: {error}") from None
    return [plain_word(str(word)) for word in words.tolist()]


def plain_word(word: str) -> str:
    """Without blanks around it; what is no Unicode is shown as its number."""
    return word.strip().encode(errors="backslashreplace").decode()
