"""iNaturalist 2018, divided by species as Smooth-AP did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from mlcore.data.sources.benchmark import Benchmark, check_entry_name
from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.declare import Knob

SPLITS = "Inat_dataset_splits"


@SOURCES.add(
    "inat2018",
    title="iNaturalist 2018",
    family="benchmark",
    paper="Brown et al., Smooth-AP, ECCV 2020, arXiv:2007.12163 (the split); Van Horn et al., CVPR 2018 (the images)",
    aliases=("INaturalist2018", "iNat"),
)
class INaturalist2018(Benchmark):
    """461,939 photos of 8,142 species: 325,846 of 5,690 train, 136,093 of 2,452 others are held out.

    Expected: the folder train_val2018 as its archive unpacks (kingdom or class, then species, then photos), and beside
    it Inaturalist_train_set1.txt and Inaturalist_test_set1.txt of Smooth-AP, also in Inat_dataset_splits. A class is
    called Aves/2761, its parent Aves. The photos take 120 GB; the import keeps them at the side that is asked for.

    Raises: ValueError if the path is no such folder, a list is damaged, or counts differ.
    """

    title = "iNaturalist 2018"
    folder = "inaturalist"
    marks = ("Inaturalist_train_set1.txt", "Inaturalist_test_set1.txt")
    counts = {"train": (325_846, 5_690), "test": (136_093, 2_452)}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        check_counts: Annotated[bool, Knob("Refuse a copy with other counts than papers report on.", rare=True)] = True,
    ) -> None:
        super().__init__(path, check_counts)

    @classmethod
    def place(cls, path: str | os.PathLike[str]) -> Path | None:
        for place in (Path(path), Path(path) / cls.folder):
            if any(all(os.path.isfile(folder / mark) for mark in cls.marks) for folder in (place, place / SPLITS)):
                return place
        return None

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        below = f"{SPLITS}/" if os.path.isfile(self.root.path / SPLITS / self.marks[0]) else ""
        for side, list_file in zip(("train", "test"), self.marks, strict=True):
            for number, file in self.lines(f"{below}{list_file}"):
                parts = file.split("/")
                if len(parts) < 3:
                    raise ValueError(
                        f"{list_file}, line {number}: must name a photo in its species' folder, such as "
                        f"train_val2018/Aves/2761/a.jpg; got '{file[:60]}'."
                    )
                yield check_entry_name(ImageEntry(file, "/".join(parts[-3:-1]), parent=parts[-3], split=side))
