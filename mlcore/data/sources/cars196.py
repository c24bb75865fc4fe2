"""Cars196: makes and models of cars."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from mlcore.data.sources.benchmark import Benchmark, check_entry_name
from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.matlab import read_mat
from mlcore.data.sources.registry import SOURCES
from mlcore.declare import Knob

TRAINED = 98
MAT_LIMIT = 2 * 2**20  # bytes of one of the .mat files; they are smaller, and may unpack to much more
CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
MERGED = "cars_annos.mat"
HALVES = (
    ("cars_train", ("devkit/cars_train_annos.mat", "cars_train_annos.mat")),
    ("cars_test", ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat")),
)
NAMES = ("devkit/cars_meta.mat", "cars_meta.mat")


@SOURCES.add(
    "cars196",
    title="Cars196",
    family="benchmark",
    paper="Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR 2013",
    aliases=("Stanford Cars", "CARS"),
)
class Cars196(Benchmark):
    """16,185 cars of 196 models; classes 1-98 train (8,054 images), 99-196 are held out (8,131).

    Expected, either: the folders cars_train and cars_test beside devkit/cars_train_annos.mat, devkit/cars_meta.mat and
    cars_test_annos_withlabels.mat (that one also in devkit); or all in one, the folder car_ims beside cars_annos.mat.
    The official train and test halves have all 196 classes each: both are read and then divided by class, and recall
    on the official halves, as some libraries report it, is far higher. cars_test_annos.mat has no classes.

    Raises: ValueError if the path is no such folder, a .mat file is damaged, or counts differ.
    """

    title = "Cars196"
    folder = "stanford_cars"
    marks = (MERGED,)
    counts = {"train": (8054, 98), "test": (8131, 98)}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        boxes: Annotated[bool, Knob("Cut each car out by its box; most papers do not.")] = False,
        check_counts: Annotated[bool, Knob("Refuse a copy with other counts than papers report on.", rare=True)] = True,
    ) -> None:
        self.boxes = boxes
        self.read: dict[str, dict[str, Any]] = {}
        if not self.takes(path):
            raise ValueError(
                f"{path}: must be a folder with {MERGED}, or with devkit/cars_train_annos.mat beside "
                "cars_test_annos_withlabels.mat (cars_test_annos.mat has no classes); it is not."
            )
        super().__init__(path, check_counts)

    @classmethod
    def place(cls, path: str | os.PathLike[str]) -> Path | None:
        for place in (Path(path), Path(path) / cls.folder, Path(path) / "cars196"):
            halves = all(any(os.path.isfile(place / file) for file in files) for _, files in HALVES)
            if halves or os.path.isfile(place / MERGED):
                return place
        return None

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        if os.path.isfile(self.root.path / MERGED):
            yield from self.cars(MERGED, "", "relative_im_path", self.names(MERGED))
            return
        names = self.names(self.there(NAMES))
        for folder, files in HALVES:
            inner = f"{folder}/{folder}" if os.path.isdir(self.root.path / folder / folder) else folder
            yield from self.cars(self.there(files), f"{inner}/", "fname", names)

    def cars(self, file: str, folder: str, path: str, names: dict[int, str]) -> Iterator[ImageEntry | SkippedEntry]:
        """The annotations of one file, whose photos' names are in the field `path`."""
        fields = self.mat(file).get("annotations", {})
        needed = (path, "class", *(CORNERS if self.boxes else ()))
        missing = [name for name in needed if name not in fields]
        if missing:
            has = ", ".join(fields) or "nothing"
            raise ValueError(f"{file}: its annotations must have {missing[0]}; they have {has}. Unpack it again.")
        for name, number, *box in zip(*(fields[name] for name in needed), strict=True):
            if not isinstance(name, str) or not all(isinstance(n, int | float) and n % 1 == 0 for n in (number, *box)):
                raise ValueError(f"{file}: an annotation must have a name and whole numbers. Unpack it again.")
            number, box = int(number), [int(corner) for corner in box]
            label, side = names.get(number, f"class {number:03}"), "train" if number <= TRAINED else "test"
            yield check_entry_name(
                ImageEntry(f"{folder}{name}", label, split=side, box=tuple(box) if self.boxes else None)
            )

    def names(self, file: str) -> dict[int, str]:
        """Class names by their numbers, which start at 1; none where there is no file."""
        return dict(enumerate(self.mat(file).get("class_names", ()), 1)) if file else {}

    def there(self, files: tuple[str, ...]) -> str:
        return next((file for file in files if os.path.isfile(self.root.path / file)), "")

    def mat(self, file: str) -> dict[str, Any]:
        """The variables of a MATLAB file, read once."""
        if file not in self.read:
            self.read[file] = read_mat(file, self.root.open(file, MAT_LIMIT))
        return self.read[file]
