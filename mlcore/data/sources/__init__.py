"""Where images come from: folders, tables, archives, arrays, benchmarks; a file each. `source_for` picks for a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from mlcore.data.sources.benchmark import Benchmark
from mlcore.data.sources.cars196 import Cars196
from mlcore.data.sources.cub200 import Cub200
from mlcore.data.sources.entries import ImageEntry, Reading, SkippedEntry
from mlcore.data.sources.idx import IdxFiles
from mlcore.data.sources.image_folder import ImageFolder
from mlcore.data.sources.inat2018 import INaturalist2018
from mlcore.data.sources.inshop import InShop
from mlcore.data.sources.refused_places import refuse_hopeless
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.safe_folder import resolve_allowed
from mlcore.data.sources.sop import StanfordOnlineProducts
from mlcore.data.sources.table import FileTable
from mlcore.data.sources.vectors import FeatureVectors
from mlcore.data.sources.zip import ZipArchive
from mlcore.data.sources.zip_table import ZipTable
from mlcore.traits import SourceTrait

__all__ = [
    "SOURCES",
    "Benchmark",
    "Cars196",
    "Cub200",
    "FeatureVectors",
    "FileTable",
    "INaturalist2018",
    "IdxFiles",
    "ImageEntry",
    "ImageFolder",
    "InShop",
    "Reading",
    "SkippedEntry",
    "Source",
    "StanfordOnlineProducts",
    "ZipArchive",
    "ZipTable",
    "fitting_sources",
    "readings_of",
    "source_for",
]


class Source(Protocol):
    """What an import asks of a source; `takes(path)` says whether it looks like this source's layout.

    `find` names everything, always in the same order, and opens no image. `open` gives the bytes of an image file, or a
    ValueError with the reason as a sentence; it is called from several threads. `stamp` is a short text that changes
    when the file does, and is cheap. A source that guesses has `describe`, which gives each guess as a `Reading`.
    """

    def find(self) -> Iterator[ImageEntry | SkippedEntry]: ...

    def open(self, file: str) -> bytes: ...

    def stamp(self, file: str) -> str: ...

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool: ...


def source_for(path: str | os.PathLike[str], key: str | None = None, **knobs: object) -> tuple[str, Source]:
    """The source that `key` names, or the one that the path looks like, with its key.

    Raises: ValueError if there is nothing at the path, nothing fits it, or the source refuses it.
    """
    real = resolve_allowed(path)
    if not real.exists():
        raise ValueError(f"{path}: must be a folder, a table or an archive of images that is there. Check its name.")
    refuse_hopeless(real)
    key = key or fitting_source(real)
    return key, SOURCES[key].build({"path": real}, **knobs)


def fitting_source(path: Path) -> str:
    """The key of the source whose layout a path has; those that take anything come last."""
    for key in fitting_sources(path):
        return key
    raise ValueError(
        f"{path}: must be a folder of images, a table (.csv, .parquet), a zip archive, idx files or vectors (.npz); "
        "it is none. "
        f"Name what it is: {', '.join(SOURCES)}."
    )


def fitting_sources(path: str | os.PathLike[str]) -> Iterator[str]:
    """The keys of all sources that may read what is at a path, the likeliest first."""
    for spec in sorted(SOURCES.values(), key=lambda spec: SourceTrait.ANYTHING in spec.traits):
        source: type[Source] = spec.load()
        if source.takes(path):
            yield spec.key


def source_readings(source: Source) -> list[Reading]:
    """What a source made out by itself; it is told once its `find` has been gone through."""
    describe = getattr(source, "describe", None)
    return [] if describe is None else describe()
