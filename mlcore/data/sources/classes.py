"""From the names of files to classes: which folder above an image is its label, and which its parent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlcore.data.sources.found import Found, LeftOut
from mlcore.data.sources.root import not_an_image, same_name


class FolderLabels:
    """Reads labels from the `level`-th folder of each name, and the parent from the one above it.

    Where folders of one name stand under several parents (red/small, blue/small), they are different classes and are
    called by their whole path. `folders` are all folders of names, each as its parts.
    """

    def __init__(self, level: int, folders: Iterable[tuple[str, ...]], skip: int = 0) -> None:
        self.level, self.skip = level, skip
        above: dict[str, set[tuple[str, ...]]] = {}
        for parts in folders:
            place = parts[skip : skip + level]
            if len(place) == level:
                above.setdefault(place[-1], set()).add(place)
        self.ambiguous = {name for name, places in above.items() if len(places) > 1}

    def read(self, files: Iterable[str | LeftOut]) -> Iterator[Found | LeftOut]:
        """Each file with its label and parent, or why it has none; of two names that differ by case, the first."""
        seen: set[int] = set()
        for file in files:
            if isinstance(file, LeftOut):
                yield file
                continue
            place = tuple(file.split("/")[self.skip : -1])[: self.level]
            twin = hash(same_name(file))
            if reason := not_an_image(file):
                yield LeftOut(file, reason)
            elif len(place) < self.level:
                yield LeftOut(file, f"It lies in no class folder: those are {self.level} folder(s) down.")
            elif twin in seen:
                yield LeftOut(file, "Another file has the same name but for upper and lower case.")
            else:
                seen.add(twin)
                label = "/".join(place) if place[-1] in self.ambiguous else place[-1]
                yield Found(file, label, parent=place[-2] if self.level > 1 else None)
