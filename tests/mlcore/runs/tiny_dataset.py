"""A data set so small that looking at it takes no time: six classes of ten images, declared for a test only."""

from __future__ import annotations

import numpy as np

from mlcore.data import DATASETS
from mlcore.data.table import ImageTable


class Tiny:
    """Noise around one image per class."""

    def __init__(self) -> None:
        """There is nothing to set."""

    def read(self) -> ImageTable:
        random = np.random.default_rng(0)
        labels = np.repeat(np.arange(6), 10)
        pixels = random.integers(0, 200, (6, 8, 8, 1))[labels] + random.integers(0, 56, (60, 8, 8, 1))
        return ImageTable(
            key="tiny",
            title="Tiny",
            pixels=pixels.astype(np.uint8),
            labels=labels.astype(np.int64),
            class_names=tuple("abcdef"),
            image_names=tuple(map(str, range(60))),
            origin="made",
            licence="none",
        )


def declare() -> None:
    if "tiny" not in DATASETS:
        DATASETS.add("tiny", title="Tiny", family="test")(Tiny)
