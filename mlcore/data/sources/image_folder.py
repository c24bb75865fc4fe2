"""A folder of images, a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

from mlcore.data.sources.classes import FolderLabels
from mlcore.data.sources.found import Found, LeftOut
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.root import Root, hidden, is_text
from mlcore.declare import Knob


@SOURCES.add("image_folder", title="Folder of images", family="own", names=("ImageFolder",), traits=("anything",))
class ImageFolder:
    """A folder per class with its images in it, which may lie in folders of their own.

    With `level` 2 the classes are the folders of the second level, and those of the first their parents. Links are
    listed, never followed.

    Raises: ValueError if the path is not a folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        level: Annotated[int, Knob("Which folder below the path is the class; the one above is its parent.", 1, 8)] = 1,
    ) -> None:
        self.root = Root(path)
        self.level = level

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        return os.path.isdir(path)

    def find(self) -> Iterator[Found | LeftOut]:
        labels = FolderLabels(self.level, self.folders())
        yield from labels.read(self.root.files())

    def open(self, file: str) -> bytes:
        return self.root.open(file)

    def stamp(self, file: str) -> str:
        return self.root.stamp(file)

    def folders(self, below: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """The folders of the classes' level."""
        if len(below) == self.level:
            yield below
            return
        for entry in self.root.entries("/".join(below)):
            if entry.is_dir(follow_symlinks=False) and not hidden(entry.name) and is_text(entry.name):
                yield from self.folders((*below, entry.name))
