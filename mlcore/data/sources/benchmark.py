"""What the field's benchmarks share: a folder in a known layout, the zero-shot split, and counts that must be right."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.safe_folder import Root, check_name

LIST_LIMIT = 64 * 2**20  # bytes of a benchmark's own list of images


class Benchmark(ABC):
    """A benchmark in its original layout.

    `folder` is the name that its archive unpacks to: the path may be that folder or the one that holds it. `marks` are
    files that only this benchmark has. `counts` are the images and classes of each side that papers report on.

    A copy with other counts is refused, for its results could not be compared with anybody's and nothing in them would
    show it; whoever means a part of a benchmark says so with `check_counts` off. An image that a list names and that is
    not there is left out by the import, with its name.
    """

    title: ClassVar[str]
    folder: ClassVar[str]
    marks: ClassVar[tuple[str, ...]]
    counts: ClassVar[dict[str, tuple[int, int]]]

    def __init__(self, path: str | os.PathLike[str], check_counts: bool) -> None:
        place = self.place(path)
        if place is None:
            raise ValueError(
                f"{path}: must be a folder with {' and '.join(self.marks)}, as {self.title} has; it is not."
            )
        self.root = Root(place)
        if check_counts:
            self.check()

    @abstractmethod
    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        """Every image in the order of the benchmark's own lists."""

    def open(self, file: str) -> bytes:
        return self.root.open(file)

    def stamp(self, file: str) -> str:
        return self.root.stamp(file)

    @classmethod
    def takes(cls, path: str | os.PathLike[str]) -> bool:
        return cls.place(path) is not None

    @classmethod
    def place(cls, path: str | os.PathLike[str]) -> Path | None:
        """The folder that the marks are in: the path, or the benchmark's folder below it."""
        places = (Path(path), Path(path) / cls.folder)
        return next((place for place in places if all(os.path.isfile(place / mark) for mark in cls.marks)), None)

    def check(self) -> None:
        """Raises: ValueError if a side has other counts than papers report on."""
        images = dict.fromkeys(self.counts, 0)
        classes: dict[str, set[str]] = {side: set() for side in self.counts}
        for found in self.find():
            if isinstance(found, ImageEntry) and found.split is not None:
                images[found.split] += 1
                classes[found.split].add(found.label)
        has = {side: (images[side], len(classes[side])) for side in self.counts}
        if has != self.counts:
            raise ValueError(
                f"{self.title}: {counts_text(self.counts)} are expected; its lists have {counts_text(has)}. Results on "
                "another set cannot be compared with papers. Unpack it again, or switch check_counts off."
            )

    def lines(self, file: str) -> Iterator[tuple[int, str]]:
        """The lines of one of the benchmark's text files that are not empty, with their numbers."""
        try:
            text = self.root.open(file, LIST_LIMIT).decode()
        except UnicodeDecodeError:
            raise ValueError(f"{file}: is not text in UTF-8. Unpack {self.title} again.") from None
        except ValueError as error:
            raise ValueError(f"{file}: {error} Unpack {self.title} again.") from None
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, line.strip()

    def fields(self, file: str, count: int, *, skip: int = 0) -> Iterator[list[str]]:
        """Each line's fields, the last with all that is left; `skip` lines at the top are headings.

        Raises: ValueError for a line with fewer.
        """
        for number, line in self.lines(file):
            fields = line.split(maxsplit=count - 1)
            if number > skip and len(fields) < count:
                raise ValueError(f"{file}, line {number}: must have {count} fields; got '{line[:60]}'.")
            if number > skip:
                yield fields

    def number(self, file: str, text: str) -> int:
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"{file}: must have whole numbers where {self.title} has them; got '{text[:40]}'.")
        return int(text)


def check_entry_name(found: ImageEntry) -> ImageEntry | SkippedEntry:
    """The image, or why its name cannot be used."""
    try:
        check_name(found.file)
    except ValueError as error:
        return SkippedEntry(found.file, str(error))
    return found


def counts_text(counts: dict[str, tuple[int, int]]) -> str:
    """'train 5,864 images of 100 classes, test 5,924 images of 100 classes'."""
    return ", ".join(f"{side} {images:,} images of {classes:,} classes" for side, (images, classes) in counts.items())
