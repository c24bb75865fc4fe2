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
@pytest.mark.parametrize(("held_out", "classes"), [(0.01, 1), (0.3, 2), (0.5, 3), (0.7, 3), (0.99, 3)])
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
    labels = np.arange(30) % 6
    first, again, other = (split(labels, by=by, seed=seed).held_out.tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_split_by_class_with_seed_0_stays_the_one_old_runs_used():
    parts = split(np.arange(10), by="class", held_out=0.5, seed=0)
    assert parts.held_out.tolist() == [2, 3, 4, 6, 7]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("sizes", [[36] * 62, [12] * 130, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]])
def test_where_classes_are_of_about_one_size_both_rules_hold_out_the_same(sizes, share, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    by_classes = split(labels, "class", share, seed, class_rule="count_classes")
    assert split(labels, "class", share, seed).held_out.tolist() == by_classes.held_out.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_one_large_class_among_tiny_ones_is_trained_on(seed):
    parts = split(np.repeat(np.arange(4), [1000, 1, 1, 1]), seed=seed)
    assert (len(parts.train), len(parts.held_out)) == (1001, 2)
    parts = split(np.repeat(np.arange(5), [500, 20, 20, 20, 20]), seed=seed)
    assert (len(parts.train), len(parts.held_out)) == (520, 60)


@pytest.mark.parametrize("seed", range(20))
def test_of_a_long_tail_about_the_share_of_the_images_is_held_out_and_both_sides_have_pairs(seed):
    sizes = [400, 200, 130, 100, 80, 66, 57, 50, 44, 40, *[1] * 30]
    labels = np.repeat(np.arange(40), sizes)
    parts = split(labels, seed=seed)
    assert 0.39 <= len(parts.held_out) / len(labels) <= 0.551
    for rows in (parts.train, parts.held_out):
        assert (np.bincount(labels[rows]) > 1).sum() >= 2


def test_of_three_classes_two_are_left_to_tell_apart():
    parts = split(np.repeat(np.arange(3), 5), held_out=0.9)
    assert len(parts.train) == 10


def test_the_old_rule_holds_out_what_it_did_however_large_the_classes_are():
    labels = np.repeat(np.arange(4), [1000, 1, 1, 1])
    parts = split(labels, seed=1, class_rule="count_classes")
    assert np.unique(labels[parts.held_out]).tolist() == np.sort(np.random.default_rng(1).permutation(4)[:2]).tolist()
    with pytest.raises(ValueError, match="class_rule must be"):
        split(labels, class_rule="by_name")


def test_split_takes_nothing_from_numpys_global_generator():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    split(LABELS, seed=1)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (LABELS, {"by": "colour"}, "by must be 'class', 'sample', 'official' or 'fold'; got 'colour'"),
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


WORDS = np.array(["train", "Test", "query", "gallery", "val", "training"])


def test_official_holds_out_everything_that_is_not_for_training():
    parts = split(np.arange(6), "official", splits=WORDS)
    assert (parts.train.tolist(), parts.held_out.tolist()) == ([0, 5], [1, 2, 3, 4])
    assert (parts.queries.tolist(), parts.gallery.tolist()) == ([2], [3])


@pytest.mark.parametrize("words", [["train", "test"], ["train", "query"], ["train", "gallery"]])
def test_without_both_query_and_gallery_all_that_is_held_out_asks(words):
    parts = split(np.arange(2), "official", splits=np.array(words))
    assert parts.queries is None
    assert parts.gallery is None


@pytest.mark.parametrize("fold", [0, 1, 4])
def test_a_fold_is_held_out_and_all_others_are_trained_on(fold):
    folds = np.array([0, 4, 1, 1, 0, 4, 0])
    parts = split(np.zeros(7, int), "fold", folds=folds, fold=fold)
    assert parts.held_out.tolist() == np.flatnonzero(folds == fold).tolist()
    assert sorted([*parts.train, *parts.held_out]) == list(range(7))


def test_official_and_fold_do_not_depend_on_share_or_seed():
    one = split(np.arange(6), "official", 0.1, 1, splits=WORDS)
    other = split(np.arange(6), "official", 0.9, 2, splits=WORDS)
    assert one.held_out.tolist() == other.held_out.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "official"}, "this set has none. Split by class"),
        ({"by": "official", "splits": np.array(["", "", ""])}, "3 have none. Split by class"),
        ({"by": "official", "splits": np.array(["train", "", "test"])}, "1 have none. Fill them in"),
        ({"by": "official", "splits": np.array(["train", "exam", "test"])}, "one of train, test, .*; got 'exam'"),
        ({"by": "official", "splits": np.array(["train"] * 3)}, "must have both sides; every row is 'train'"),
        ({"by": "official", "splits": np.array(["train", "test"])}, "for each of 3 rows; got 2"),
        ({"by": "fold"}, "the data has no folds. Make them: python -m mlcore prepare"),
        ({"by": "fold", "folds": np.array([0, 1])}, "one fold for each of 3 rows"),
        ({"by": "fold", "folds": np.array([0, -1, -1])}, "every row needs a fold; 2 have none"),
        ({"by": "fold", "folds": np.array([2, 2, 2]), "fold": 2}, "two folds at least; every row is in fold 2"),
        ({"by": "fold", "folds": np.array([0, 1, 3]), "fold": 2}, "fold must be one of 0, 1, 3; got 2"),
    ],
)
def test_split_that_the_data_does_not_have_is_refused_with_the_reason(settings, message):
    with pytest.raises(ValueError, match=message):
        split(np.array([0, 1, 1]), **settings)
