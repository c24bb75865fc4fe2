"""Retrieval figures against a slow loop, against pytorch-metric-learning, and where searches go wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from mlcore.evaluation import evaluate_retrieval, nearest, per_query, retrieval


def clustered(samples, classes, columns=8, noise=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    embeddings = random.normal(size=(classes, columns))[labels] + noise * random.normal(size=(samples, columns))
    return embeddings.astype(np.float32), labels


def ranked_by_hand(embeddings, row):
    """All other rows, nearest first."""
    unit = embeddings.astype(np.float64) / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    others = [other for other in range(len(unit)) if other != row]
    return sorted(others, key=lambda other: -float(unit[row] @ unit[other]))


def figures_by_hand(embeddings, labels, ks=(1, 2, 4, 8)):
    """Every figure from its definition, one query at a time."""
    precisions, average_precisions, firsts, lone = [], [], [], 0
    for row in range(len(labels)):
        order = ranked_by_hand(embeddings, row)
        hits = [bool(labels[other] == labels[row]) for other in order]
        relevant = sum(hits)
        if relevant == 0:
            lone += 1
            continue
        firsts.append(hits.index(True) + 1)
        precisions.append(sum(hits[:relevant]) / relevant)
        average_precisions.append(
            sum(sum(hits[:place]) / place for place in range(1, relevant + 1) if hits[place - 1]) / relevant
        )
    return {
        **{f"recall_at_{k}": sum(first <= k for first in firsts) / len(firsts) for k in ks},
        "precision_at_1": sum(first == 1 for first in firsts) / len(firsts),
        "r_precision": sum(precisions) / len(precisions),
        "map_at_r": sum(average_precisions) / len(average_precisions),
        "queries": len(firsts),
        "lone_queries": lone,
    }


@pytest.mark.parametrize(("samples", "classes", "noise"), [(60, 5, 0.5), (90, 30, 1.0), (40, 40, 1.0), (70, 2, 3.0)])
def test_figures_are_those_of_a_slow_loop(samples, classes, noise):
    embeddings, labels = clustered(samples, classes, noise=noise)
    assert evaluate_retrieval(embeddings, labels) == pytest.approx(figures_by_hand(embeddings, labels))


def test_figures_stay_the_same_when_searched_in_many_small_blocks(monkeypatch):
    embeddings, labels = clustered(300, 20)
    whole = evaluate_retrieval(embeddings, labels)
    queries = per_query(embeddings, labels)
    monkeypatch.setattr(retrieval, "BLOCK", 50)
    assert evaluate_retrieval(embeddings, labels) == pytest.approx(whole, rel=1e-12)
    np.testing.assert_array_equal(per_query(embeddings, labels).first_hit, queries.first_hit)


@pytest.mark.parametrize("labels", [np.arange(1080) // 180, np.arange(1080) % 90, np.sort(np.arange(1080) ** 2 % 37)])
def test_figures_are_those_of_accuracy_calculator(labels):
    random = np.random.default_rng(1)
    embeddings = random.normal(size=(labels.max() + 1, 16))[labels] + 1.5 * random.normal(size=(len(labels), 16))
    ours = evaluate_retrieval(embeddings, labels)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
    )
    unit = torch.nn.functional.normalize(torch.from_numpy(embeddings.astype(np.float32)))
    theirs = calculator.get_accuracy(unit, torch.from_numpy(labels))
    assert ours["precision_at_1"] == pytest.approx(theirs["precision_at_1"], abs=1e-12)
    assert ours["r_precision"] == pytest.approx(theirs["r_precision"], abs=1e-5)  # it sorts by distance: near ties swap
    assert ours["map_at_r"] == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-5)


def test_labels_that_float32_cannot_tell_apart_are_different_classes():
    embeddings = np.repeat(np.eye(2), 2, axis=0)
    large = 2**24
    apart = evaluate_retrieval(embeddings, np.array([large, large + 1, large, large + 1]))
    assert apart["recall_at_1"] == 0.0
    assert apart["queries"] == 4


def test_float_labels_are_refused():
    with pytest.raises(ValueError, match="whole numbers"):
        evaluate_retrieval(np.eye(3), np.array([0.0, 0.0, 1.0]))


def test_lone_queries_are_counted_and_left_out():
    embeddings = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, -1]])
    figures = evaluate_retrieval(embeddings, np.array([0, 0, 1, 1, 2]))
    assert (figures["queries"], figures["lone_queries"], figures["map_at_r"]) == (4, 1, 1.0)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 0, 1], [0, 1, 2]], ids=["one class", "one asks", "all lone"])
def test_where_nobody_can_be_wrong_there_is_no_figure(labels):
    figures = evaluate_retrieval(np.eye(3), np.array(labels))
    assert {figures[name] for name in ("recall_at_1", "precision_at_1", "r_precision", "map_at_r")} == {None}
    assert figures["queries"] + figures["lone_queries"] == 3


@pytest.mark.parametrize("count", [0, 1, 5])
def test_shares_are_none_when_every_query_is_lone(count):
    figures = evaluate_retrieval(np.ones((count, 3)), np.arange(count))
    assert (figures["queries"], figures["lone_queries"]) == (0, count)
    assert {figures[name] for name in ("recall_at_1", "recall_at_8", "r_precision", "map_at_r")} == {None}


def test_a_query_finds_its_duplicate_but_never_itself():
    embeddings = np.array([[1, 0], [1, 0], [0, 1], [0.1, 1]])
    indices, similarities = nearest(embeddings, 1)
    assert indices[:, 0].tolist() == [1, 0, 3, 2]
    assert similarities[:2, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("k", [1, 3, 8])
def test_no_row_finds_itself_among_many_duplicates(k):
    indices, _ = nearest(np.repeat(np.eye(3), 20, axis=0), k)
    assert indices.shape == (60, k)
    assert not (indices == np.arange(60)[:, None]).any()
    assert all(len(set(row)) == k for row in indices.tolist())
    assert (indices // 20 == np.arange(60)[:, None] // 20).all()


def test_nearest_is_the_slow_loop():
    embeddings, _ = clustered(50, 5)
    indices, similarities = nearest(embeddings, 7)
    assert (indices.dtype, similarities.dtype) == (np.int32, np.float32)
    assert indices.tolist() == [ranked_by_hand(embeddings, row)[:7] for row in range(50)]
    assert (np.diff(similarities, axis=1) <= 0).all()


def test_nearest_in_a_gallery_may_be_the_query_itself():
    embeddings, _ = clustered(20, 4)
    indices, similarities = nearest(embeddings[:5], 20, gallery=embeddings)
    assert indices[:, 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(similarities[:, 0], 1.0, atol=1e-6)


def test_scaling_an_embedding_changes_no_figure():
    embeddings, labels = clustered(80, 8)
    scales = np.geomspace(1e-20, 1e20, 80, dtype=np.float32)[:, None]
    assert evaluate_retrieval(embeddings * scales, labels) == pytest.approx(evaluate_retrieval(embeddings, labels))


@pytest.mark.parametrize("k", [0, 20])
def test_more_neighbours_than_candidates_are_refused(k):
    with pytest.raises(ValueError, match="between 1 and the 19 candidates"):
        nearest(np.ones((20, 2)), k)


def test_a_gallery_of_another_width_is_refused():
    with pytest.raises(ValueError, match="must have 2 columns"):
        nearest(np.ones((20, 2)), 1, gallery=np.ones((20, 3)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused_with_their_number(bad):
    embeddings = np.ones((4, 3))
    embeddings[2, 1] = bad
    with pytest.raises(ValueError, match="1 of 4 rows"):
        evaluate_retrieval(embeddings, np.zeros(4, int))


def test_per_query_gives_each_rank_and_average_precision_of_the_slow_loop():
    embeddings, labels = clustered(90, 30, noise=4.0)
    queries = per_query(embeddings, labels)
    for row in range(90):
        hits = labels[ranked_by_hand(embeddings, row)] == labels[row]
        relevant = int(hits.sum())
        if relevant == 0:
            assert queries.first_hit[row] == 0
            assert np.isnan(queries.average_precision[row])
            continue
        assert queries.first_hit[row] == hits.argmax() + 1
        expected = sum(hits[: place + 1].mean() for place in range(relevant) if hits[place]) / relevant
        assert queries.average_precision[row] == pytest.approx(expected, rel=1e-6)
    assert queries.first_hit.max() > 20  # beyond what is searched first


def test_mean_of_per_query_is_map_at_r():
    embeddings, labels = clustered(200, 20)
    figures = evaluate_retrieval(embeddings, labels)
    assert np.nanmean(per_query(embeddings, labels).average_precision) == pytest.approx(figures["map_at_r"], rel=1e-6)


def test_hardest_queries_come_worst_first_and_are_never_lone():
    embeddings = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [0.95, 0.05], [-1, -1]])
    labels = np.array([0, 0, 1, 1, 1, 2])
    queries = per_query(embeddings, labels)
    hardest = queries.hardest(10).tolist()
    assert hardest[0] == 4
    assert sorted(hardest) == [0, 1, 2, 3, 4]
    assert queries.hardest(2).tolist() == hardest[:2]
