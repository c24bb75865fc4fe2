"""Feature vectors with labels, from an NPZ archive of arrays or a Parquet table: what a head is trained on."""

from __future__ import annotations

import io
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image

from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.safe_folder import check_name, resolve_allowed
from mlcore.data.sources.split_names import SIDES as SPLITS
from mlcore.data.sources.vector_table import (
    PART,
    SIDES,
)
from mlcore.data.sources.vectors_npz import read_npz
from mlcore.data.sources.vectors_parquet import (
    list_column,
    number_columns,
    parquet_kinds,
    read_parquet,
)
from mlcore.declare import Knob


@SOURCES.add("vectors", title="Feature vectors", family="own", aliases=("NPZ", "embeddings", "descriptors"))
class FeatureVectors:
    """Vectors that some network made, with their labels: a head is trained on them as they are.

    An NPZ archive has an array `vectors` (N, D) and one of `labels` (N,), words or whole numbers, and where there are:
    `names`, `splits`, `folds`, `parents`, (N,) each. A Parquet table has a column of lists, or a column for each number
    (then all columns of numbers that mean nothing else are taken, in their order), and the others as columns. A vector
    that is not finite is left out with its row. As there are no images, each is shown as a grey picture of its first
    256 numbers, standardised over the set, by rows. All vectors are held in memory while they are imported.

    Raises: ValueError if the file cannot be read, lacks an array or a column, holds anything but numbers and words
    (nothing pickled is read), does not hold what it says, or is too large.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        vectors: Annotated[str | None, Knob("Array or column of the vectors.", none="seen by its name")] = None,
        labels: Annotated[str | None, Knob("Array or column of the labels.", none="seen by its name")] = None,
    ) -> None:
        self.path = resolve_allowed(path)
        self.asked = {"vectors": vectors, "labels": labels}
        if not self.path.is_file():
            raise ValueError(f"{path}: must be a file of vectors that is there. Check its name.")
        read = read_parquet if self.path.suffix.lower() == ".parquet" else read_npz
        self.table = read(self.path, vectors, labels)
        if not len(self.table.vectors):
            raise ValueError(f"{self.path.name}: must have at least one vector; it has none.")

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        if not os.path.isfile(path):
            return False
        suffix = Path(path).suffix.lower()
        if suffix != ".parquet":
            return suffix == ".npz"
        try:
            kinds = parquet_kinds(Path(path))
        except ValueError:
            return False
        return "file" not in kinds and (bool(list_column(kinds)) or len(number_columns(kinds, None)) > 1)

    @cached_property
    def finite(self) -> np.ndarray:
        """(N,) bool: which vectors can be used."""
        good = np.isfinite(self.table.vectors).all(axis=1)
        good[list(self.table.why)] = False
        return good

    @cached_property
    def files(self) -> list[str]:
        """Each row's name: its own, told apart where several rows share it, else its number."""
        names = self.table.extras.get("name") or [""] * len(self.finite)
        digits = len(str(len(names)))
        counts = Counter(names)
        found = [f"{name} (row {row})" if counts[name] > 1 else name for row, name in enumerate(names)]
        return [
            f"vector {row:0{digits}d}" if not names[row] or not is_usable_name(name) else name
            for row, name in enumerate(found)
        ]

    @cached_property
    def rows(self) -> dict[str, int]:
        return {file: row for row, file in enumerate(self.files)}

    @cached_property
    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the numbers that are shown, of the finite vectors, float32."""
        shown = self.table.vectors[self.finite, : self.side**2]
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = shown.mean(axis=0, dtype=np.float64), shown.std(axis=0, dtype=np.float64)
        return mean.astype(np.float32), np.where(deviation > 0, deviation, 1.0).astype(np.float32)

    @property
    def side(self) -> int:
        """Of the square that has room for all numbers of a vector, or for the first 256."""
        return min(SIDES[1], max(SIDES[0], math.ceil(math.sqrt(self.table.vectors.shape[1]))))

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        table = self.table
        for row, file in enumerate(self.files):
            told = {name: words[row] for name, words in table.extras.items()}
            split, fold = told.get("split", "").lower(), told.get("fold", "")
            reason = table.why.get(row, "")
            if not reason and not self.finite[row]:
                reason = "Its vector has numbers that are not finite."
            if not reason and not table.labels[row]:
                reason = "It has no label. Every vector needs a class."
            if not reason and split and split not in SPLITS:
                reason = f"Its split is '{split[:40]}'; it must be train, test, val, query or gallery."
            if not reason and fold and not fold.lstrip("-").isdigit():
                reason = f"Its fold must be a whole number; got '{fold[:40]}'."
            if reason:
                yield SkippedEntry(file, reason)
                continue
            number = int(fold) if fold and int(fold) >= 0 else None
            yield ImageEntry(file, table.labels[row], told.get("parent") or None, SPLITS.get(split), number)

    def open(self, file: str) -> bytes:
        """A PNG of the vector's numbers, at most the first 256 of them, grey where they are the set's mean."""
        row = self.rows.get(file)
        if row is None:
            raise ValueError("There is no such vector.")
        mean, deviation = self.scale
        shown = (self.table.vectors[row, : self.side**2] - mean) / deviation
        tile = np.full(self.side**2, 128, np.uint8)
        tile[: len(shown)] = np.clip(128.0 + 48.0 * np.nan_to_num(shown), 0, 255)
        file_bytes = io.BytesIO()
        Image.fromarray(tile.reshape(self.side, self.side)).save(file_bytes, "PNG", compress_level=1)
        return file_bytes.getvalue()

    def stamp(self, file: str) -> str:
        """The vector itself."""
        return f"{zlib.crc32(np.ascontiguousarray(self.table.vectors[self.rows[file]]).data):08x}"

    def vectors_of(self, files: Sequence[str]) -> Iterator[np.ndarray]:
        """(n, D) float32 each: the vectors of these names, part after part."""
        for start in range(0, len(files), PART):
            yield self.table.vectors[[self.rows[file] for file in files[start : start + PART]]]


def is_usable_name(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True
