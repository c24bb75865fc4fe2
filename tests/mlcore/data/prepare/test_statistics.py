"""A set in numbers, counted by hand."""

import json

import pandas as pd

from mlcore.data.prepare import complete_index, compute_statistics


def test_counts_sizes_and_lone_classes():
    index = complete_index(
        pd.DataFrame(
            {
                "file": ["a", "b", "c", "d"],
                "label": ["x", "y", "x", "z"],
                "parent": ["p", "p", "p", None],
                "width": [10, 30, 20, 0],
                "height": [5, 6, 7, 8],
                "mode": ["L", "RGB", "RGB", "RGB"],
                "split": ["train", "test", "train", ""],
                "fold": [1, 0, 1, None],
            }
        )
    )
    found = compute_statistics(index)
    assert (found.images, found.classes, found.parents) == (4, 3, 1)
    assert list(found.per_class.items()) == [("x", 2), ("y", 1), ("z", 1)]
    assert found.lone == ("y", "z")
    assert found.widths == (10, 20, 30)
    assert found.heights == (5, 6, 8)
    assert found.modes == {"RGB": 3, "L": 1}
    assert found.splits == {"train": 2, "test": 1}
    assert list(found.folds.items()) == [(0, 1), (1, 2)]
    assert "2 classes have one image: y, z" in found.lines()
    json.dumps(found.to_dict())


def test_what_an_index_does_not_say_is_left_out():
    found = compute_statistics(complete_index(pd.DataFrame({"file": ["a"], "label": ["x"]})))
    assert (found.widths, found.modes, found.splits, found.folds) == (None, {}, {}, {})
    assert len(found.lines()) == 3
