"""What the Data page says of a set in one line."""

from __future__ import annotations

import numpy as np

from app.browse import GROUPS, groups_text
from mlcore.data import ImageTable


def table(names, parents):
    count = len(parents)
    return ImageTable(
        key="toy",
        title="Toy",
        pixels=np.zeros((count, 2, 2, 1), np.uint8),
        labels=np.arange(count),
        class_names=tuple(map(str, range(count))),
        image_names=tuple(map(str, range(count))),
        origin="Made.",
        licence="None.",
        parents=np.array(parents),
        parent_names=tuple(names),
    )


def test_names_from_outside_are_text():
    assert groups_text(table(["<b>", "two"], [0, 1])) == "Groups: \\<b\\> (1 class), two (1)."


def test_a_long_list_is_cut_and_says_how_many_more():
    assert groups_text(table(map(str, range(GROUPS)), range(GROUPS))).endswith(f"{GROUPS - 1} (1).")
    text = groups_text(table(map(str, range(GROUPS + 5)), range(GROUPS + 5)))
    assert text.endswith(f"{GROUPS - 1} (1) and 5 more.")
