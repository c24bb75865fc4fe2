"""A folder of images, a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated

from mlcore.data.sources.entries import ImageEntry, Reading, SkippedEntry
from mlcore.data.sources.folder_labels import FolderLabels
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.safe_folder import Root
from mlcore.declare import Knob
from mlcore.traits import SourceTrait

LEVEL = Knob(
    "How many folders down the class is. 1: the first folders. 2: those inside them; the first are then the parents. "
    "Folders around all others, train and test do not count.",
    1,
    8,
    title="Which folder is the class",
)
OFFICIAL_SPLIT = Knob(
    "Folders called train, val, test, query or gallery are the official split, not classes.",
    title="Train and test folders are a split",
)


@SOURCES.add(
    "image_folder", title="Folder of images", family="own", aliases=("ImageFolder",), traits=(SourceTrait.ANYTHING,)
)
class ImageFolder:
    """A folder per class with its images in it, which may lie in folders of their own.

    With `level` 2 the classes are the folders of the second level, and those of the first their parents. Folders around
    all others do not count. Folders called train, test and the like, with the classes' folders in them or inside the
    classes' folders, are the official split. Links are listed, never followed.

    Raises: ValueError if the path is not a folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        level: Annotated[int, LEVEL] = 1,
        official_split: Annotated[bool, OFFICIAL_SPLIT] = True,
    ) -> None:
        self.root = Root(path)
        self.level, self.official_split = level, official_split

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        return os.path.isdir(path)

    @cached_property
    def labels(self) -> FolderLabels:
        files = (file for file in self.root.files() if isinstance(file, str))
        return FolderLabels(files, self.level, official_split=self.official_split)

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        yield from self.labels.read(self.root.files())

    def describe(self) -> list[Reading]:
        return self.labels.describe()

    def open(self, file: str) -> bytes:
        return self.root.open(file)

    def stamp(self, file: str) -> str:
        return self.root.stamp(file)
