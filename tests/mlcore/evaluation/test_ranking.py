"""Rankings of any gallery against a slow loop, and against pytorch-metric-learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from mlcore.evaluation import evaluate_retrieval, fit_pca, rank, ranking


def clustered(samples, classes, noise=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    centers = np.random.default_rng(99).normal(size=(classes, 8))
    return (centers[labels] + noise * random.normal(size=(samples, 8))).astype(np.float32), labels


def by_hand(queries, labels, gallery, gallery_labels, itself, depth=None, normalize=True):
    """MAP@R, MAP and MRR from their definitions, one query at a time; None for a lone one."""
    figures = []
    if normalize:
        queries, gallery = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery))
    for q, row in enumerate(queries):
        others = [g for g in range(len(gallery)) if g != itself[q]]
        others.sort(key=lambda g: float(np.linalg.norm(row.astype(np.float64) - gallery[g])))
        hits = [bool(gallery_labels[g] == labels[q]) for g in others]
        relevant = sum(hits)
        if relevant == 0:
            continue
        at = [sum(hits[:place]) / place if hits[place - 1] else 0.0 for place in range(1, len(hits) + 1)]
        first = hits.index(True) + 1
        deep = len(hits) if depth is None else depth
        mrr = 1.0 / first if first <= deep else 0.0
        figures.append((sum(at[:relevant]) / relevant, sum(at[:deep]) / relevant, mrr))
    return np.array(figures)


@pytest.mark.parametrize("depth", [None, 5, 30])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("case", ["itself", "gallery", "both"])
def test_figures_are_those_of_a_slow_loop(case, normalize, depth, monkeypatch):
    monkeypatch.setattr(ranking, "BLOCK", 900)
    queries, labels = clustered(40, 7)
    other, other_labels = clustered(50, 9, seed=1)
    gallery, gallery_labels, itself = {
        "itself": (queries, labels, np.arange(40)),
        "gallery": (other, other_labels, np.full(40, -1)),
        "both": (np.concatenate([other, queries]), np.concatenate([other_labels, labels]), np.arange(50, 90)),
    }[case]
    expected = by_hand(queries, labels, gallery, gallery_labels, itself, depth, normalize)
    given = () if case == "itself" else (gallery, gallery_labels)
    own = None if case == "itself" else itself
    ours = rank(queries, labels, *given, itself=own, depth=depth, normalize=normalize)
    for column, name in enumerate(("map_at_r", "map", "mrr")):
        np.testing.assert_allclose(ours.metrics[name], expected[:, column], rtol=1e-9, err_msg=name)


def test_the_quick_figures_are_the_same():
    embeddings, labels = clustered(120, 30, noise=2.0)
    quick, whole = evaluate_retrieval(embeddings, labels), rank(embeddings, labels).mean()
    assert {name: whole[name] for name in quick} == pytest.approx(quick)


def test_figures_are_those_of_accuracy_calculator():
    queries, labels = clustered(200, 12, noise=2.0)
    gallery, gallery_labels = clustered(300, 12, noise=2.0, seed=1)
    names = {
        "precision_at_1": "precision_at_1",
        "r_precision": "r_precision",
        "mean_average_precision_at_r": "map_at_r",
        "mean_average_precision": "map",
        "mean_reciprocal_rank": "mrr",
    }
    calculator = AccuracyCalculator(include=tuple(names), device=torch.device("cpu"), return_per_class=True)
    theirs = calculator.get_accuracy(*(torch.tensor(array) for array in (queries, labels, gallery, gallery_labels)))
    result = rank(queries, labels, gallery, gallery_labels, normalize=False)
    by_class = result.per_class()
    for name, ours in names.items():
        assert [by_class[number][ours] for number in sorted(by_class)] == pytest.approx(theirs[name], abs=1e-5)
    expected = np.mean([figures["map"] for figures in by_class.values()])
    assert result.mean_of_classes()["map"] == pytest.approx(expected)


def test_duplicates_of_a_query_stay_and_lone_queries_are_counted():
    embeddings, labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1]]), np.array([0, 0, 1, 2])
    result = rank(embeddings, labels, embeddings, labels, itself=np.arange(4))
    assert (result.mean()["queries"], result.mean()["lone_queries"]) == (2, 2)
    assert result.mean()["recall_at_2"] == 1.0
    assert rank(embeddings, np.arange(4)).mean()["map"] is None
    assert rank(embeddings, np.arange(4)).mean_of_classes()["map"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ks": ()}, "ks and depth"),
        ({"depth": 0}, "ks and depth"),
        ({"gallery": np.ones((5, 2))}, "go together"),
        ({"gallery": np.ones((5, 3)), "gallery_labels": np.ones(5, int)}, "must have 2 columns"),
        ({"gallery": np.ones((5, 2)), "gallery_labels": np.ones(5, int), "itself": np.full(4, 5)}, "itself must be"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        rank(np.ones((4, 2)), np.ones(4, int), **arguments)


def test_pca_keeps_the_distances_along_the_first_components():
    random = np.random.default_rng(0)
    rows = random.normal(size=(50, 3)) @ np.linalg.qr(random.normal(size=(8, 8)))[0][:3] + 5.0
    reduced = fit_pca(rows, 3)(rows)
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(np.linalg.norm(reduced[:, None] - reduced, axis=2), apart, atol=1e-4)
    with pytest.raises(ValueError, match="between 1 and 8; got 9"):
        fit_pca(rows, 9)
