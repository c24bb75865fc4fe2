"""Splits, folds, query and gallery: arithmetic over random label columns."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.data.prepare import complete_index, splits

labels = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=80)
seeds = st.integers(0, 2**31 - 1)


def index_of(names, split=""):
    return complete_index(
        pd.DataFrame({"file": [f"{n}.png" for n in range(len(names))], "label": names, "split": split})
    )


@given(labels.filter(lambda names: len(set(names)) > 1), st.floats(0.01, 0.99), seeds)
def test_by_class_no_class_is_on_both_sides(names, share, seed):
    sides = splits.by_class(index_of(names), share, seed)
    trained, held = ({n for n, side in zip(names, sides, strict=True) if side == word} for word in ("train", "test"))
    assert not trained & held
    assert trained
    assert held
    assert trained | held == set(names)
    assert (sides == splits.by_class(index_of(names), share, seed)).all()


@given(labels.filter(lambda names: len(set(names)) < len(names)), st.floats(0.01, 0.99), seeds)
def test_by_sample_every_class_gives_its_share_within_one(names, share, seed):
    sides = splits.by_sample(index_of(names), share, seed)
    for name in set(names):
        mine = [side for n, side in zip(names, sides, strict=True) if n == name]
        assert mine.count("train") >= 1
        assert len(mine) == 1 or abs(mine.count("test") - share * len(mine)) <= 1
        assert mine.count("train") + mine.count("test") == len(mine)


@given(labels, st.integers(1, 10), st.integers(1, 10))
def test_by_counts_each_class_is_where_its_count_puts_it(names, one, other):
    low, high = sorted((one, other))
    expected = ["train" if low <= names.count(name) <= high else "test" for name in names]
    if len(set(expected)) == 2:
        assert splits.by_counts(index_of(names), low, high).tolist() == expected
    else:
        with pytest.raises(ValueError, match="some classes must have"):
            splits.by_counts(index_of(names), low, high)


@given(labels, st.integers(2, 7), seeds)
def test_folds_by_sample_are_even_in_each_class_and_altogether(names, count, seed):
    if count > len(names):
        with pytest.raises(ValueError, match="there must be 2 folds at least"):
            splits.assign_folds(index_of(names), count, seed=seed)
        return
    fold = splits.assign_folds(index_of(names), count, seed=seed)
    assert np.ptp(np.bincount(fold, minlength=count)) <= 1
    for name in set(names):
        assert np.ptp(np.bincount(fold[np.array(names) == name], minlength=count)) <= 1
    assert (fold == splits.assign_folds(index_of(names), count, seed=seed)).all()


@given(labels, st.integers(2, 7), seeds)
def test_folds_by_class_keep_classes_whole_and_spread_them_evenly(names, count, seed):
    classes = sorted(set(names))
    if count > len(classes):
        with pytest.raises(ValueError, match="there must be 2 folds at least"):
            splits.assign_folds(index_of(names), count, "class", seed)
        return
    fold = splits.assign_folds(index_of(names), count, "class", seed)
    of_class = [set(fold[np.array(names) == name]) for name in classes]
    assert all(len(folds) == 1 for folds in of_class)
    assert np.ptp(np.bincount([folds.pop() for folds in of_class], minlength=count)) <= 1
    assert (fold == splits.assign_folds(index_of(names), count, "class", seed)).all()


def test_folds_by_class_are_alike_in_images_where_classes_are_not():
    names = [str(n) for n in range(20) for _ in range(5 + 10 * (n % 4))]
    sizes = np.bincount(splits.assign_folds(index_of(names), 5, "class"))
    assert np.ptp(sizes) <= 20


@pytest.mark.parametrize("make", [splits.by_class, splits.by_sample, splits.assign_folds])
def test_another_seed_gives_another_split(make):
    index = index_of(list("abcdefgh") * 6)
    assert (make(index, seed=0) != make(index, seed=1)).any()


@given(labels, st.integers(1, 4), seeds)
def test_each_query_can_be_answered_from_the_gallery(names, queries, seed):
    index = index_of([*names, "z", "z", "z"], split=["train", *["test"] * (len(names) + 2)])
    sides = splits.query_gallery(index, queries, seed)
    assert sides[0] == "train"
    assert set(sides[1:]) == {"query", "gallery"}
    for name in set(index["label"][1:]):
        mine = sides[1:][(index["label"][1:] == name).to_numpy()].tolist()
        assert mine.count("gallery") >= 1
        assert mine.count("query") == min(queries, len(mine) - 1)


def test_query_and_gallery_need_something_held_out_twice():
    with pytest.raises(ValueError, match="must have two images held out; none has"):
        splits.query_gallery(index_of(["a", "b", "c"], split=["train", "test", "test"]))
    with pytest.raises(ValueError, match="must have a word for every row"):
        splits.query_gallery(index_of(["a", "a"]))


def test_official_words_are_read_in_any_case():
    index = index_of(list("aabb"), split=["Train", "QUERY", " gallery", "val"])
    assert splits.by_official(index).tolist() == ["train", "query", "gallery", "val"]


def test_folds_by_something_else_are_refused():
    with pytest.raises(ValueError, match="by must be 'sample' or 'class'; got 'colour'"):
        splits.assign_folds(index_of(["a", "b"]), 2, "colour")
