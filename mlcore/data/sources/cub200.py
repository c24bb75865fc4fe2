"""CUB-200-2011: birds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Annotated

from mlcore.data.sources.benchmark import Benchmark, check_entry_name
from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.declare import Knob

TRAINED = 100


@SOURCES.add(
    "cub200",
    title="CUB-200-2011",
    family="benchmark",
    paper="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011",
    aliases=("CUB", "CUB200"),
)
class Cub200(Benchmark):
    """11,788 birds of 200 kinds; classes 1-100 train (5,864 images), 101-200 are held out (5,924).

    Expected in CUB_200_2011: images.txt, image_class_labels.txt, classes.txt, the folder images, and with `boxes`
    bounding_boxes.txt. train_test_split.txt is not read: it has every class on both sides, as classification wants,
    and recall on that split is far higher than on unseen classes. A few images are grey.

    Raises: ValueError if the path is no such folder, a list is damaged, or counts differ.
    """

    title = "CUB-200-2011"
    folder = "CUB_200_2011"
    marks = ("images.txt", "image_class_labels.txt", "classes.txt")
    counts = {"train": (5864, 100), "test": (5924, 100)}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        boxes: Annotated[bool, Knob("Cut each bird out by its box; most papers do not.")] = False,
        check_counts: Annotated[bool, Knob("Refuse a copy with other counts than papers report on.", rare=True)] = True,
    ) -> None:
        self.boxes = boxes
        super().__init__(path, check_counts)

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        names = dict(self.fields("classes.txt", 2))
        classes = dict(self.fields("image_class_labels.txt", 2))
        boxes = {number: box for number, *box in self.fields("bounding_boxes.txt", 5)} if self.boxes else {}
        for number, file in self.fields("images.txt", 2):
            if number not in classes or classes[number] not in names:
                raise ValueError(f"images.txt: image {number} must have a class with a name; it has none.")
            side = "train" if self.number("image_class_labels.txt", classes[number]) <= TRAINED else "test"
            box = self.corners(number, boxes) if self.boxes else None
            yield check_entry_name(ImageEntry(f"images/{file}", names[classes[number]], split=side, box=box))

    def corners(self, number: str, boxes: dict[str, list[str]]) -> tuple[int, int, int, int]:
        """Left, top, right, bottom from the list's left, top, width and height."""
        try:
            left, top, width, height = map(float, boxes[number])
            return math.floor(left), math.floor(top), math.ceil(left + width), math.ceil(top + height)
        except (KeyError, ValueError, OverflowError):
            raise ValueError(f"bounding_boxes.txt: image {number} must have a box of four numbers.") from None
