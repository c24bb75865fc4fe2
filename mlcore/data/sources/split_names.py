"""The words by which data says which images are trained on: in a column of a table, or as the names of folders."""

from __future__ import annotations

import re

SIDES = {word: word for word in ("train", "val", "test", "query", "gallery")}
SIDES |= {"training": "train", "testing": "test", "valid": "val", "validation": "val"}
FOLDER_SIDES = SIDES | {"trainval": "train", "eval": "val", "evaluation": "val", "dev": "val", "queries": "query"}
FILLERS = frozenset(
    ["set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "picture", "pictures"]
).union(["photo", "photos", "sample", "samples", "folder", "dir", "split", "of", "the"])
WORDS = re.compile(r"[^\W\d_]+")


def side_of_folder(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Which side a folder's name says, and its words that say nothing of it; None where it says none, or several.

    'Train', 'train_images', 'training_set' and 'trainset' are train; 'seg_test' is test, and 'seg' says nothing.
    """
    words = [whole_word(word) for word in WORDS.findall(name.casefold())]
    sides = {FOLDER_SIDES[word] for word in words if word in FOLDER_SIDES}
    rest = tuple(word for word in words if word not in FOLDER_SIDES and word not in FILLERS)
    if sides == {"train", "val"}:
        return "train", rest
    return (sides.pop(), rest) if len(sides) == 1 else None


def is_filler(name: str) -> bool:
    """Whether a folder's name says nothing but that there are images in it."""
    words = WORDS.findall(name.casefold())
    return bool(words) and all(word in FILLERS for word in words)


def whole_word(word: str) -> str:
    """'trainset' and 'testimages' without what is grown together with the side's word."""
    for filler in FILLERS:
        for short in (word.removesuffix(filler), word.removeprefix(filler)):
            if short != word and short in FOLDER_SIDES:
                return short
    return word
