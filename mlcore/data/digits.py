"""Handwritten digits: the small set that scikit-learn carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from mlcore.data.registry import DATASETS
from mlcore.data.table import ImageTable


@DATASETS.add("digits", title="Digits", family="sample")
class Digits:
    """1,797 handwritten digits in 10 classes, 8 x 8 px, grey.

    Small enough to train in seconds on any machine. The images are those of scikit-learn's `load_digits`,
    read from its file directly, because importing scikit-learn takes longer than the reading.
    """

    def __init__(self) -> None:
        """There is nothing to set."""

    def read(self) -> ImageTable:
        """Raises: ValueError if scikit-learn is not installed or lacks the file."""
        rows = np.loadtxt(digits_file(), delimiter=",", dtype=np.int64)  # (1797, 65): 64 pixels of 0..16, the label
        pixels = (rows[:, :64] * 255 + 8) // 16
        labels = rows[:, 64].copy()
        return ImageTable(
            key="digits",
            title="Digits",
            pixels=pixels.astype(np.uint8).reshape(-1, 8, 8, 1),
            labels=labels,
            class_names=tuple("0123456789"),
            image_names=tuple(f"{label}, number {row}" for row, label in enumerate(labels)),
            origin=(
                "Optical recognition of handwritten digits by E. Alpaydin and C. Kaynak (UCI, 1998), the test part, "
                "as carried by scikit-learn."
            ),
            licence="CC BY 4.0 (UCI Machine Learning Repository); scikit-learn itself is BSD 3-clause.",
        )


def digits_file() -> Path:
    """Where scikit-learn keeps its digits, found without importing it."""
    package = importlib.util.find_spec("sklearn")
    origin = package.origin if package else None
    path = Path(origin).parent / "datasets" / "data" / "digits.csv.gz" if origin else None
    if path is None or not path.is_file():
        raise ValueError("digits: scikit-learn must be installed with its data; run `pip install scikit-learn`.")
    return path
