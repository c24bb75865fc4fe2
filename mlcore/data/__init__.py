"""Image sets as tables, their splits and thumbnails. Needs neither torch nor scikit-learn (only `transforms` does)."""

from __future__ import annotations

from functools import lru_cache

from mlcore.data.digits import Digits
from mlcore.data.registry import DATASETS
from mlcore.data.sample_sets import Emoji, Glyphs
from mlcore.data.splits import Split, split
from mlcore.data.store import SET_ID, open_set, own_key
from mlcore.data.table import ImageTable

__all__ = ["DATASETS", "Digits", "Emoji", "Glyphs", "ImageTable", "Split", "load", "split"]


def load(key: str, **params: object) -> ImageTable:
    """The data set declared under `key`, read once and then shared (its arrays are read-only).

    A key may also be the id of an imported set, or a path to images, which are imported first if they are new.

    Raises: ValueError if there is no such data set, or its files are not those that were imported.
    """
    own = None if key in DATASETS else own_key(key)
    if own is None:
        values = DATASETS[key].check(params)
        return read(key, tuple(sorted(values.items())))
    if params:
        raise ValueError(f"{key}: imported images have nothing to set; got {', '.join(params)}.")
    return open_set(own if SET_ID.fullmatch(own) else import_images(own))


def import_images(path: str) -> str:
    """The id of the set that the images at a path make."""
    from mlcore.data.importing import import_path

    return import_path(path, as_it_is=True).name


@lru_cache(maxsize=4)
def read(key: str, values: tuple[tuple[str, object], ...]) -> ImageTable:
    return DATASETS[key].build(**dict(values)).read()
