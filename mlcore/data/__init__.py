"""Image sets as tables, their splits and thumbnails. Needs neither torch nor scikit-learn (only `transforms` does)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mlcore.data.digits import Digits
from mlcore.data.registry import DATASETS
from mlcore.data.samples import Emoji, Glyphs
from mlcore.data.splits import Split, split
from mlcore.data.table import ImageTable

__all__ = ["DATASETS", "Digits", "Emoji", "Glyphs", "ImageTable", "Split", "load", "split"]


def load(key: str, **params: Any) -> ImageTable:
    """The data set declared under `key`, read once and then shared (its arrays are read-only)."""
    values = DATASETS[key].check(params)
    return read(key, tuple(sorted(values.items())))


@lru_cache(maxsize=4)
def read(key: str, values: tuple[tuple[str, Any], ...]) -> ImageTable:
    return DATASETS[key].build(**dict(values)).read()
