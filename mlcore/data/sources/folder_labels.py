"""From the names of files to classes, by a layout of their folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from mlcore.data.sources.entries import ImageEntry, Reading, SkippedEntry
from mlcore.data.sources.layout import AS_CLASSES, Folders, describe_layout, read_layout
from mlcore.data.sources.safe_folder import not_an_image, same_name


class FolderLabels:
    """Reads labels from the `level`-th folder of each name, and the parent from the one above it.

    Folders around all others do not count. Where folders of one name stand under several parents (red/small,
    blue/small), they are different classes and are called by their whole path. Folders called train, test and the like
    are sides of the official split unless that is not wanted. Names that differ only in how their accents are written
    are one class.

    `files` are the names of all files, of which those that may be images are looked at.
    """

    def __init__(self, files: Iterable[str], level: int, *, official_split: bool = True) -> None:
        self.level = level
        self.folders: Counter[Folders] = Counter(
            tuple(file.split("/")[:-1]) for file in files if not not_an_image(file)
        )
        self.layout = read_layout(self.folders, level, official_split=official_split)
        above: dict[str, set[Folders]] = {}
        sides = set()
        for parts in self.folders:
            place, side = self.layout.place(parts)
            if len(place) == level:
                above.setdefault(place[-1], set()).add(place)
                sides.add(side)
        self.is_split = len(sides) > 1
        self.ambiguous = {name for name, places in above.items() if len(places) > 1}

    def describe(self) -> list[Reading]:
        return describe_layout(self.layout, self.folders)

    def read(self, files: Iterable[str | SkippedEntry]) -> Iterator[ImageEntry | SkippedEntry]:
        """Each file with its label and parent, or why it has none; of two names that differ by case, the first."""
        seen: set[int] = set()
        for file in files:
            if isinstance(file, SkippedEntry):
                yield file
                continue
            if reason := not_an_image(file):
                yield SkippedEntry(file, reason)
                continue
            place, side = self.layout.place(tuple(file.split("/")[:-1]))
            twin = hash(same_name(file))
            if len(place) < self.level:
                yield SkippedEntry(file, self.why_without_class())
            elif twin in seen:
                yield SkippedEntry(file, "Another file has the same name but for case, or for how accents are written.")
            else:
                seen.add(twin)
                label = "/".join(place) if place[-1] in self.ambiguous else place[-1]
                yield ImageEntry(
                    file, label, parent=place[-2] if self.level > 1 else None, split=side if self.is_split else None
                )

    def why_without_class(self) -> str:
        if self.layout.sides:
            return (
                f"It lies in no class folder: those are {self.level} folder(s) below train, test and the like. If "
                f"these are the classes: --option {AS_CLASSES}"
            )
        return f"It lies in no class folder: those are {self.level} folder(s) down."
