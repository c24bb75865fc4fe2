"""Stanford Online Products: things for sale."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

from mlcore.data.sources.benchmark import Benchmark, check_entry_name
from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.sources.registry import SOURCES
from mlcore.declare import Knob


@SOURCES.add(
    "sop",
    title="Stanford Online Products",
    family="benchmark",
    paper="Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016",
    aliases=("SOP", "StanfordOnlineProducts"),
)
class StanfordOnlineProducts(Benchmark):
    """120,053 photos of 22,634 products of 12 kinds; 59,551 of 11,318 train, 60,502 of 11,316 are held out.

    Expected in Stanford_Online_Products: Ebay_train.txt, Ebay_test.txt and the twelve folders such as bicycle_final,
    whose kind (bicycle) is the parent of its products. Products are called by their class_id; most have two to twelve
    photos, so that few images of a class fill a batch. A few are grey.

    Raises: ValueError if the path is no such folder, a list is damaged, or counts differ.
    """

    title = "Stanford Online Products"
    folder = "Stanford_Online_Products"
    marks = ("Ebay_train.txt", "Ebay_test.txt")
    counts = {"train": (59_551, 11_318), "test": (60_502, 11_316)}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        check_counts: Annotated[bool, Knob("Refuse a copy with other counts than papers report on.", rare=True)] = True,
    ) -> None:
        super().__init__(path, check_counts)

    def find(self) -> Iterator[ImageEntry | SkippedEntry]:
        for side in ("train", "test"):
            list_file = f"Ebay_{side}.txt"
            for _, product, _, file in self.fields(list_file, 4, skip=1):
                label = str(self.number(list_file, product))
                yield check_entry_name(
                    ImageEntry(file, label, parent=file.partition("/")[0].removesuffix("_final"), split=side)
                )
