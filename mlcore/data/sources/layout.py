"""What the folders above images are: around all, a side of the official split, a class, its parent."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlcore.data.sources.entries import Reading
from mlcore.data.sources.split_names import SIDES, is_filler, side_of_folder

Folders = tuple[str, ...]
AS_CLASSES = "official_split=false"
ORDER = tuple(dict.fromkeys(SIDES.values()))


@dataclass(frozen=True)
class Layout:
    """How many folders are around all others (`skip`), and where the official split is, if there is one.

    `sides` are the folders that hold a side's classes, each with its word, those of one side in several places too;
    or `side_at` is how many folders below the outer ones the side stands, behind the classes.
    """

    level: int
    skip: int = 0
    sides: Mapping[Folders, str] = field(default_factory=dict)
    side_at: int | None = None

    def place(self, folders: Folders) -> tuple[Folders, str | None]:
        """The folders from the outermost parent to the class, fewer where there is no class; and the side."""
        side, below = None, folders[self.skip :]
        if self.sides:
            for length in range(len(folders), 0, -1):
                if folders[:length] in self.sides:
                    side, below = self.sides[folders[:length]], folders[length:]
                    break
            else:
                below = ()
        elif self.side_at is not None:
            said = side_of_folder(below[self.side_at]) if len(below) > self.side_at else None
            side, below = said[0] if said else None, below[: self.side_at]
        return tuple(unicodedata.normalize("NFC", name) for name in below[: self.level]), side

    @property
    def is_official(self) -> bool:
        return bool(self.sides) or self.side_at is not None


def read_layout(folders: Mapping[Folders, int], level: int, *, official_split: bool = True) -> Layout:
    """The layout of images whose folders are these; `folders` counts the images that lie directly in each."""
    skip = outer_folders(folders, level)
    if not official_split or not folders:
        return Layout(level, skip)
    for outer in range(skip, -1, -1):
        sides = sides_before_classes(folders, outer)
        if sides:
            return Layout(level, outer, sides=sides)
    if sides_behind_classes(folders, skip + level):
        return Layout(level, skip, side_at=level)
    return Layout(level, skip)


def outer_folders(folders: Mapping[Folders, int], level: int) -> int:
    """How many folders hold all images and at least `level` folders below, and so are neither class nor parent.

    One with images of its own is a class with a folder in it, unless there are several.
    """
    if not folders:
        return 0
    first, last = min(folders), max(folders)
    most = max(map(len, folders)) - level
    outer = 0
    while outer < min(len(first), len(last), most) and first[outer] == last[outer]:
        below = {parts[outer + 1] for parts in folders if len(parts) > outer + 1}
        if len(below) == 1 and first[: outer + 1] in folders:
            break
        outer += 1
    return outer


def sides_before_classes(folders: Mapping[Folders, int], outer: int) -> dict[Folders, str]:
    """The folders of the sides, which have the classes' folders in them; nothing where there are none.

    Every folder here that has folders must be called as a side, all in the same way; others hold images without a
    class, as the test images of a competition.
    """
    here = {parts[outer] for parts in folders if len(parts) > outer}
    deep = {parts[outer] for parts in folders if len(parts) > outer + 1}
    said = {name: side for name in here if (side := side_of_folder(name)) is not None}
    first = min(folders)[:outer]
    if not deep <= said.keys() or len(here) < 2 or len(said) < 2 or (not deep and here != said.keys()):
        return {}
    if len({rest for _, rest in said.values()}) > 1 or len({side for side, _ in said.values()}) < 2:
        return {}
    return {inner_folder(folders, (*first, name)): side for name, (side, _) in said.items()}


def inner_folder(folders: Mapping[Folders, int], side: Folders) -> Folders:
    """A side's folder, or the one in it that holds all of its classes: train/train/cat, test/images/cat."""
    while True:
        inside = {parts for parts in folders if parts[: len(side)] == side}
        below = {parts[len(side)] for parts in inside if len(parts) > len(side)}
        deeper = any(len(parts) > len(side) + 1 for parts in inside)
        if len(below) != 1 or side in folders or not deeper:
            return side
        (only,) = below
        if side_of_folder(only) is None and not is_filler(only):
            return side
        side = (*side, only)


def sides_behind_classes(folders: Mapping[Folders, int], depth: int) -> bool:
    """Whether every image lies in a side's folder inside its class: cat/train, cat/test."""
    if any(len(parts) <= depth for parts in folders):
        return False
    names = {parts[depth] for parts in folders}
    said = [side for name in names if (side := side_of_folder(name)) is not None]
    return len(said) == len(names) and len({side for side, _ in said}) > 1 and len({rest for _, rest in said}) == 1


def describe_layout(layout: Layout, folders: Mapping[Folders, int]) -> list[Reading]:
    """What was seen in the names of folders, in sentences."""
    if layout.is_official:
        return [describe_split(layout, folders)]
    if layout.skip:
        outer = "/".join(min(folders)[: layout.skip])
        return [Reading(f"'{outer[:80]}' holds all other folders and is not taken as a class.")]
    return []


def describe_split(layout: Layout, folders: Mapping[Folders, int]) -> Reading:
    images: Counter[str] = Counter()
    classes: dict[str, set[Folders]] = {}
    without = 0
    for parts, count in folders.items():
        place, side = layout.place(parts)
        if len(place) < layout.level or side is None:
            without += count
            continue
        images[side] += count
        classes.setdefault(side, set()).add(place)
    told = [
        f"{side} ({count_noun(images[side], 'image')}, {count_noun(len(classes[side]), 'class')})"
        for side in sorted(images, key=ORDER.index)
    ]
    if not told:
        return Reading(
            "Its folders are called as the sides of an official split, and have no class folders in them: "
            "no image has a class.",
            f"--option {AS_CLASSES}",
        )
    below = "below" if layout.sides else "above"
    text = f"Read as an official split: {', '.join(told)}. The folders {below} are the classes."
    held_out = [side for side in sorted(images, key=ORDER.index) if side != "train"]
    if "train" in images and held_out:
        text += f" {' and '.join(held_out)} {'is' if len(held_out) == 1 else 'are'} held out."
    else:
        text += f" There is no other side than {' and '.join(images)}, so runs split by class."
    if without:
        text += f" {count_noun(without, 'image')} in no class folder {'is' if without == 1 else 'are'} left out."
    return Reading(text, f"--option {AS_CLASSES}")


def count_noun(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"
