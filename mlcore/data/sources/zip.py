"""A zip archive of images, a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated

from mlcore.data.sources.entries import ImageEntry, Reading, SkippedEntry
from mlcore.data.sources.folder_labels import FolderLabels
from mlcore.data.sources.image_folder import LEVEL, OFFICIAL_SPLIT
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.zip_files import AUTO, NAME_ENCODING, PackedFiles, is_archive
from mlcore.traits import SourceTrait


@SOURCES.add("zip", title="Zip archive", family="own", traits=(SourceTrait.ANYTHING,))
class ZipArchive:
    """A folder per class inside a zip, read as an unpacked folder of images is.

    An archive with names that lead out of it, or a list that cannot be, is hostile and refused as a whole; what is only
    of no use (links, encrypted files, archives in the archive, twice the same name) is listed and left out.

    Raises: ValueError if the path is no zip archive, or is refused.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        level: Annotated[int, LEVEL] = 1,
        official_split: Annotated[bool, OFFICIAL_SPLIT] = True,
        name_encoding: Annotated[str, NAME_ENCODING] = AUTO,
    ) -> None:
        self.packed = PackedFiles(path, name_encoding)
        self.level, self.official_split = level, official_split

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        return is_archive(path)

    @cached_property
    def labels(self) -> FolderLabels:
        files = (file for file in self.packed.files() if isinstance(file, str))
        return FolderLabels(files, self.level, official_split=self.official_split)

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        yield from self.labels.read(self.packed.files())

    def describe(self) -> list[Reading]:
        return [*self.packed.describe_names(), *self.labels.describe()]

    def open(self, file: str) -> bytes:
        return self.packed.open(file)

    def stamp(self, file: str) -> str:
        return self.packed.stamp(file)
