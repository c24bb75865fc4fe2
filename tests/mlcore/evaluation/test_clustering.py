"""NMI of k-means clusters and labels."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.evaluation import ami, nmi
from mlcore.evaluation.clustering import adjusted_mutual_information, mutual_information


def test_classes_far_apart_are_found_whatever_the_lengths():
    random = np.random.default_rng(0)
    labels = np.repeat([7, 2**40, -3], 30)
    embeddings = np.repeat(np.eye(3), 30, axis=0) + 0.01 * random.normal(size=(90, 3))
    assert nmi(embeddings * random.uniform(0.1, 50, (90, 1)), labels) == pytest.approx(1.0)


@pytest.mark.parametrize(("classes", "clusters"), [(2, 2), (3, 40), (31, 31), (1, 5), (5, 1), (1, 1)])
def test_mutual_information_is_scikit_learns(classes, clusters):
    from sklearn.metrics import normalized_mutual_info_score

    random = np.random.default_rng(classes)
    labels, found = random.integers(0, classes, 300) - 7, random.integers(0, clusters, 300) * 3
    found = np.where(random.random(300) < 0.5, labels, found)
    assert mutual_information(labels, found) == pytest.approx(normalized_mutual_info_score(labels, found), abs=1e-12)


def test_labels_without_meaning_score_low():
    random = np.random.default_rng(0)
    assert nmi(random.normal(size=(2000, 8)), random.integers(0, 5, 2000)) < 0.02


def test_the_same_seed_gives_the_same_value():
    random = np.random.default_rng(0)
    embeddings, labels = random.normal(size=(500, 8)), random.integers(0, 40, 500)
    assert nmi(embeddings, labels, seed=3) == nmi(embeddings, labels, seed=3)
    assert nmi(embeddings, labels, seed=3) != nmi(embeddings, labels, seed=4)


def test_small_and_large_sets_print_nothing(capfd):
    random = np.random.default_rng(0)
    nmi(random.normal(size=(12, 4)), np.arange(12) // 2)
    nmi(random.normal(size=(3000, 4)), np.arange(3000) % 2)
    assert capfd.readouterr() == ("", "")


def test_identical_embeddings_tell_nothing():
    assert nmi(np.ones((40, 4)), np.arange(40) % 4) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("labels", [np.arange(6), np.zeros(6, int), np.zeros(1, int)])
def test_what_any_embeddings_would_score_is_no_figure(labels):
    assert nmi(np.eye(6)[: len(labels)], labels) is None
    assert ami(np.eye(6)[: len(labels)], labels) is None


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        nmi(np.ones((0, 4)), np.ones(0, int))


@pytest.mark.parametrize(("classes", "clusters"), [(2, 2), (3, 40), (31, 31), (1, 5), (5, 1), (1, 1), (150, 140)])
@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_adjusted_mutual_information_is_scikit_learns(classes, clusters, alike):
    from sklearn.metrics import adjusted_mutual_info_score

    random = np.random.default_rng(classes)
    labels, found = random.integers(0, classes, 300) - 7, random.integers(0, clusters, 300) * 3
    found = np.where(random.random(300) < alike, labels, found)
    expected = adjusted_mutual_info_score(labels, found)
    assert adjusted_mutual_information(labels, found) == pytest.approx(expected, abs=1e-9)


def test_chance_scores_nothing_with_many_small_classes():
    random = np.random.default_rng(0)
    embeddings, labels = random.normal(size=(600, 8)), random.permutation(600) // 4
    assert nmi(embeddings, labels) > 0.7
    assert abs(ami(embeddings, labels)) < 0.05
