"""What a run's sample tells of its split."""

import numpy as np
import pytest

from app.lab.snapshots import WatchSample


@pytest.mark.parametrize(
    ("split", "labels", "unseen"),
    [
        ("class", [0, 0, 1, 1], True),
        ("sample", [0, 1, 0, 1], False),
        ("sample", [0, 0, 1, 1], False),
        ("official", [0, 0, 1, 1], True),
        ("official", [0, 1, 1, 2], False),
        ("fold", [0, 1, 0, 1], False),
    ],
)
def test_whether_classes_are_unseen_is_told_by_the_split_or_else_by_the_sample(split, labels, unseen):
    held_out = np.array([False, False, True, True])
    sample = WatchSample(np.arange(4), np.array(labels), held_out, tuple("abc"), tuple("wxyz"), "toy", 4)
    assert sample.unseen_classes(split) == unseen
