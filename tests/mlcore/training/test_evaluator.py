"""The watched sample is fair and always the same; a look tells the truth about one step."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.data import ImageTable, split
from mlcore.evaluation import ami, nmi
from mlcore.evaluation.ranking import rank
from mlcore.evaluation.retrieval import evaluate_retrieval
from mlcore.projection import pca
from mlcore.training.evaluator import HELD_OUT_SHARE, Evaluator, choose_sample, spread_over_classes, to_float16


def table_of(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    return ImageTable(
        key="made",
        title="Made",
        pixels=np.zeros((len(labels), 2, 2, 1), np.uint8),
        labels=labels,
        class_names=tuple(map(str, range(len(sizes)))),
        image_names=tuple(map(str, range(len(labels)))),
        origin="",
        licence="",
    )


def sample_of(sizes, points, by="sample", seed=0):
    table = table_of(sizes)
    parts = split(table.labels, by, 0.5, 0)
    return table, parts, choose_sample(table, parts, points, seed)


def test_a_set_that_fits_is_watched_whole():
    table, parts, sample = sample_of([10, 20, 30], points=60)
    np.testing.assert_array_equal(sample.rows, np.arange(60))
    np.testing.assert_array_equal(sample.labels, table.labels)
    np.testing.assert_array_equal(np.flatnonzero(sample.held_out), parts.held_out)
    assert sample.total == 60


def test_of_a_larger_set_as_many_as_asked_each_once_and_in_order():
    table, parts, sample = sample_of([400, 300, 300], points=100)
    assert len(sample.rows) == 100
    assert (np.diff(sample.rows) > 0).all()
    np.testing.assert_array_equal(sample.labels, table.labels[sample.rows])
    np.testing.assert_array_equal(sample.held_out, np.isin(sample.rows, parts.held_out))
    assert sample.held_out.sum() == round(100 * HELD_OUT_SHARE)
    assert sample.total == 1000


def test_a_rare_class_is_seen_as_much_as_a_common_one():
    _, _, sample = sample_of([1000, 12, 12], points=30, by="sample")
    for side in (sample.held_out, ~sample.held_out):
        counts = np.bincount(sample.labels[side], minlength=3)
        assert counts.max() - counts[1:].min() <= 1


def test_the_sample_depends_on_the_seed_alone():
    first, again, other = (sample_of([500, 500], 50, seed=seed)[2] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.rows, again.rows)
    assert not np.array_equal(first.rows, other.rows)


def test_where_one_side_is_small_the_other_fills_the_places():
    table = table_of([100, 100])
    few_held = split(table.labels, "sample", 0.05, 0)
    sample = choose_sample(table, few_held, 100, 0)
    assert sample.held_out.sum() == len(few_held.held_out) == 10
    assert len(sample.rows) == 100
    few_train = split(table.labels, "sample", 0.95, 0)
    sample = choose_sample(table, few_train, 100, 0)
    assert (~sample.held_out).sum() == len(few_train.train) == 10
    assert len(sample.rows) == 100


def test_no_more_is_taken_than_there_is():
    rows = spread_over_classes(np.arange(5), np.zeros(5, int), 50, np.random.default_rng(0))
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert len(spread_over_classes(np.zeros(0, int), np.zeros(5, int), 3, np.random.default_rng(0))) == 0


@pytest.mark.parametrize("length", [1e-30, 1e-3, 1.0, 1e3, 1e6, 1e30])
def test_half_precision_keeps_the_direction_of_embeddings_of_any_length(length):
    rows = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    stored = to_float16((rows * np.float32(length)).astype(np.float32)).astype(np.float32)
    cosines = (stored * rows).sum(axis=1) / np.linalg.norm(stored, axis=1)
    assert cosines.min() > 0.9999


def test_half_precision_keeps_ordinary_lengths_and_zeros():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(to_float16(rows), rows)


def test_a_map_of_another_size_is_no_help_for_the_next():
    """A resumed run whose sample has changed begins a new map instead of failing."""
    table, parts, sample = sample_of([20, 20], points=40)
    evaluator = Evaluator(table, parts, sample, None, np.arange(2), last_pca=np.zeros((7, 3), np.float32))
    embeddings = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    picture = evaluator._picture(embeddings, None)
    np.testing.assert_array_equal(picture["pca"], pca(embeddings, 3))


def test_neighbours_are_of_the_same_side_and_never_oneself():
    table, parts, sample = sample_of([6, 6], points=12)
    evaluator = Evaluator(table, parts, sample, None, np.arange(2))
    picture = evaluator._picture(np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32), None)
    neighbours = picture["neighbours"]
    assert neighbours.shape == (12, 8)
    assert (neighbours[:, 5:] == -1).all()
    found = neighbours[:, :5]
    assert (sample.held_out[found] == sample.held_out[:, None]).all()
    assert (found != np.arange(12)[:, None]).all()
    assert (np.diff(picture["similarities"][:, :5].astype(float), axis=1) <= 1e-3).all()


def test_queries_are_searched_in_the_gallery_alone_where_the_split_says_so():
    table = table_of([6, 6, 6, 6])
    words = np.array((["train"] * 6) * 2 + (["query"] * 2 + ["gallery"] * 4) * 2)
    parts = split(table.labels, "official", splits=words)
    embeddings = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
    embeddings[12:14] = embeddings[18:20] = 1.0  # the queries of both classes are alike, and no gallery image is
    evaluator = Evaluator(table, parts, choose_sample(table, parts, 24, 0), None, np.arange(2))
    seen = evaluator._metrics(0, embeddings * 2, embeddings, None, [], 0.0, True, {})
    asked = rank(embeddings[parts.queries], table.labels[parts.queries], embeddings[parts.gallery],
                 table.labels[parts.gallery]).mean()  # fmt: skip
    assert {name: seen.held_out[name] for name in asked} == pytest.approx(asked)
    assert seen.held_out["queries"] == 4
    assert seen.backbone["recall_at_1"] == seen.held_out["recall_at_1"]
    assert seen.train == {
        **evaluate_retrieval(embeddings[:12], table.labels[:12]),
        **{
            name: value
            for name, value in rank(embeddings[:12], table.labels[:12]).mean().items()
            if name in ("map", "mrr")
        },
        "ami": ami(embeddings[:12], table.labels[:12]),
        "nmi": nmi(embeddings[:12], table.labels[:12]),
    }
    among_itself = split(table.labels, "official", splits=np.where(words == "train", "train", "test"))
    evaluator = Evaluator(table, among_itself, choose_sample(table, among_itself, 24, 0), None, np.arange(2))
    other = evaluator._metrics(0, None, embeddings, None, [], 0.0, False, {})
    assert other.held_out["queries"] == 12
    assert set(other.held_out) == set(seen.held_out) - {"map", "mrr", "ami"}


def test_a_picture_of_queries_and_a_gallery_shows_what_the_queries_find_there():
    table = table_of([6, 6, 6, 6])
    words = np.array((["train"] * 6) * 2 + (["query"] * 2 + ["gallery"] * 4) * 2)
    parts = split(table.labels, "official", splits=words)
    evaluator = Evaluator(table, parts, choose_sample(table, parts, 24, 0), None, np.arange(2))
    neighbours = evaluator._picture(np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32), None)[
        "neighbours"
    ]
    asking, searched = words == "query", words == "gallery"
    assert searched[neighbours[asking]].all()
    assert (neighbours[searched] == -1).all()
    assert (words[neighbours[words == "train"]] == "train").all()
