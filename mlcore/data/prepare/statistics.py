"""What a set holds: images per class, sizes, modes, splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from mlcore.data.natural_order import natural_key


@dataclass(frozen=True)
class Statistics:
    """An index in numbers.

    `per_class` has every class's count, the largest first; `lone` are the classes of one image, which no search can
    find and no pair can be made of. Sizes are (smallest, median, largest) in px, None where the index has none.
    """

    images: int
    classes: int
    parents: int
    per_class: dict[str, int]
    lone: tuple[str, ...]
    widths: tuple[int, int, int] | None
    heights: tuple[int, int, int] | None
    modes: dict[str, int]
    splits: dict[str, int]
    folds: dict[int, int]

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The same in a few sentences."""
        counts = list(self.per_class.values())
        said = [
            f"{count_words(self.images, 'image', 'images')} in {count_words(self.classes, 'class', 'classes')}"
            + (f" of {count_words(self.parents, 'parent', 'parents')}" * bool(self.parents))
        ]
        if counts:
            middle = counts[len(counts) // 2]
            said.append(f"images per class: {counts[-1]} to {counts[0]}, the middle class has {middle}")
        if self.lone:
            shown = ", ".join(self.lone[:5]) + (", ..." if len(self.lone) > 5 else "")
            verb = "class has" if len(self.lone) == 1 else "classes have"
            said.append(f"{len(self.lone)} {verb} one image: {shown}")
        for name, sizes in (("widths", self.widths), ("heights", self.heights)):
            if sizes:
                said.append(f"{name}: {sizes[0]} to {sizes[2]} px, median {sizes[1]}")
        for name, found in (("modes", self.modes), ("splits", self.splits), ("folds", self.folds)):
            if found:
                said.append(f"{name}: " + ", ".join(f"{word} {count}" for word, count in found.items()))
        return said


def compute_statistics(index: pd.DataFrame) -> Statistics:
    """Count an index (with the columns of `complete`)."""
    per_class = count_values(index["label"])
    return Statistics(
        images=len(index),
        classes=len(per_class),
        parents=index["parent"][index["parent"] != ""].nunique(),
        per_class=per_class,
        lone=tuple(sorted((name for name, count in per_class.items() if count == 1), key=natural_key)),
        widths=size_spread(index["width"]),
        heights=size_spread(index["height"]),
        modes=count_values(index["mode"][index["mode"] != ""]),
        splits=count_values(index["split"][index["split"] != ""]),
        folds=dict(sorted(count_values(index["fold"][index["fold"] >= 0]).items())),
    )


def count_words(count: int, one: str, many: str) -> str:
    """'1 image', '2 images'."""
    return f"{count} {one if count == 1 else many}"


def count_values(column: pd.Series) -> dict[Any, int]:
    """Each value's count, the largest first, equal ones in the natural order of their names."""
    counts = column.value_counts()
    pairs = zip(counts.index.tolist(), counts.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], natural_key(str(pair[0])))))


def size_spread(sizes: pd.Series) -> tuple[int, int, int] | None:
    known = sizes[sizes > 0]
    return (int(known.min()), int(known.median()), int(known.max())) if len(known) else None
