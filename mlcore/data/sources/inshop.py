"""In-Shop: clothes, to be found again among other photos of a shop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from mlcore.data.sources.benchmark import Benchmark, check_entry_name
from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.declare import Knob

LIST = "list_eval_partition.txt"
LISTS = (f"Eval/{LIST}", LIST, f"Anno/{LIST}")
SIDES = ("train", "query", "gallery")


@SOURCES.add(
    "inshop",
    title="In-Shop",
    family="benchmark",
    paper="Liu et al., DeepFashion: Powering Robust Clothes Recognition and Retrieval, CVPR 2016",
    aliases=("DeepFashion In-shop Clothes Retrieval", "InShop"),
)
class InShop(Benchmark):
    """52,712 photos of 7,982 pieces of clothing: 25,882 of 3,997 train; of 3,985 others 14,218 ask among 12,612.

    Expected: list_eval_partition.txt (also in Eval or Anno) and the folder img (also in Img). Queries are searched in
    the gallery alone; both are held out, and to merge them gives other results than papers have. A piece's parent is
    where it hangs, such as WOMEN/Dresses: where its photos lie in several places, the first in the list.

    Raises: ValueError if the path is no such folder, the list is damaged, or counts differ.
    """

    title = "In-Shop"
    folder = "In-shop Clothes Retrieval Benchmark"
    marks = (LIST,)
    counts = {"train": (25_882, 3_997), "query": (14_218, 3_985), "gallery": (12_612, 3_985)}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        check_counts: Annotated[bool, Knob("Refuse a copy with other counts than papers report on.", rare=True)] = True,
    ) -> None:
        super().__init__(path, check_counts)

    @classmethod
    def place(cls, path: str | os.PathLike[str]) -> Path | None:
        places = (Path(path), Path(path) / cls.folder)
        return next((place for place in places if any(os.path.isfile(place / file) for file in LISTS)), None)

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        list_file = next(file for file in LISTS if os.path.isfile(self.root.path / file))
        above = "" if os.path.isdir(self.root.path / "img") else "Img/"
        parents: dict[str, str] = {}
        for file, piece, side in self.fields(list_file, 3, skip=2):
            if side not in SIDES:
                raise ValueError(f"{list_file}: a photo is for {', '.join(SIDES)}; {file[:80]} is for '{side[:20]}'.")
            parent = parents.setdefault(piece, "/".join(file.split("/")[1:-2]))
            yield check_entry_name(ImageEntry(f"{above}{file}", piece, parent=parent or None, split=side))
