"""Which images stay."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.data.prepare import complete_index
from mlcore.data.prepare.filters import by_count, by_side, place_in_class


def index_of(labels, width=1, height=1):
    files = [f"{n}.png" for n in range(len(labels))]
    return complete_index(pd.DataFrame({"file": files, "label": labels, "width": width, "height": height}))


def test_the_shorter_side_is_held_against_smallest_and_the_longer_against_largest():
    index = index_of(list("abcd"), width=[10, 20, 32, 32], height=[40, 31, 32, 100])
    assert by_side(index, smallest=20).tolist() == [False, True, True, True]
    assert by_side(index, largest=40).tolist() == [True, True, True, False]
    assert by_side(index, 32, 32).tolist() == [False, False, True, False]


def test_size_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="width and height of every image must be known"):
        by_side(index_of(["a"], width=0), smallest=3)


labels = st.lists(st.sampled_from("abcde"), min_size=1, max_size=60)


@given(labels, st.integers(1, 12), st.integers(1, 12), st.integers(0, 5))
def test_each_class_keeps_what_it_may(names, fewest, most, seed):
    index = index_of(names)
    keep = by_count(index, fewest, most, seed=seed)
    assert (keep == by_count(index, fewest, most, seed=seed)).all()
    for name in set(names):
        count = names.count(name)
        assert index["label"][keep].eq(name).sum() == (min(count, most) if count >= fewest else 0)


@given(labels, st.integers(1, 12))
def test_without_undersampling_a_large_class_goes_whole(names, most):
    index = index_of(names)
    keep = by_count(index, most=most, undersample=False)
    assert keep.tolist() == [names.count(name) <= most for name in names]


def test_another_seed_draws_other_images():
    index = index_of(["a"] * 40)
    assert (by_count(index, most=10, seed=0) != by_count(index, most=10, seed=1)).any()


@given(labels)
def test_places_count_up_within_each_class_in_the_order_given(names):
    codes = pd.factorize(np.array(names, dtype=object))[0]
    order = np.random.default_rng(0).random(len(codes))
    places = place_in_class(codes, order)
    for code in set(codes):
        rows = np.flatnonzero(codes == code)
        assert places[rows[np.argsort(order[rows])]].tolist() == list(range(len(rows)))
