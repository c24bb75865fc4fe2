"""Split arithmetic, over many seeds and shares."""

import numpy as np
import pytest

from mlcore.data import split

LABELS = np.repeat([4, 7, 1, 9, 2], [1, 2, 9, 30, 5])[np.random.default_rng(0).permutation(47)]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("held_out", [0.01, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("by", ["class", "sample"])
def test_the_two_sides_are_sorted_disjoint_not_empty_and_the_whole(by, held_out, seed):
    parts = split(LABELS, by=by, held_out=held_out, seed=seed)
    assert parts.by == by
    assert len(parts.train) > 0
    assert len(parts.held_out) > 0
    for rows in (parts.train, parts.held_out):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
    assert sorted([*parts.train, *parts.held_out]) == list(range(len(LABELS)))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("held_out", "classes"), [(0.01, 1), (0.3, 2), (0.5, 3), (0.7, 4), (0.99, 4)])
def test_by_class_no_class_is_on_both_sides_and_as_many_as_asked_are_held(held_out, classes, seed):
    parts = split(LABELS, by="class", held_out=held_out, seed=seed)
    held, trained = set(LABELS[parts.held_out]), set(LABELS[parts.train])
    assert not held & trained
    assert len(held) == classes


@pytest.mark.parametrize("seed", range(20))
def test_by_sample_each_class_gives_its_share_and_a_single_sample_stays_in_training(seed):
    parts = split(LABELS, by="sample", held_out=0.3, seed=seed)
    held = {label: int((LABELS[parts.held_out] == label).sum()) for label in np.unique(LABELS)}
    assert held == {1: 3, 2: 2, 4: 0, 7: 1, 9: 9}


@pytest.mark.parametrize("by", ["class", "sample"])
def test_same_seed_gives_the_same_split_and_another_seed_another(by):
    first, again, other = (split(LABELS, by=by, seed=seed).held_out.tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_split_by_class_with_seed_0_stays_the_one_old_runs_used():
    parts = split(np.arange(10), by="class", held_out=0.5, seed=0)
    assert parts.held_out.tolist() == [2, 3, 4, 6, 7]


def test_split_takes_nothing_from_numpys_global_generator():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    split(LABELS, seed=1)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (LABELS, {"by": "colour"}, "by must be 'class' or 'sample'; got 'colour'"),
        (LABELS, {"held_out": 0.0}, "held_out must be a share"),
        (LABELS, {"held_out": 1.0}, "held_out must be a share"),
        (LABELS, {"held_out": float("nan")}, "held_out must be a share"),
        (np.zeros(5, int), {"by": "class"}, "at least two classes"),
        (np.arange(5), {"by": "sample"}, "every class has one sample"),
        (np.zeros((2, 2), int), {}, "one number per row"),
        (np.zeros(0, int), {}, "one number per row"),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_reason(labels, settings, message):
    with pytest.raises(ValueError, match=message):
        split(labels, **settings)
