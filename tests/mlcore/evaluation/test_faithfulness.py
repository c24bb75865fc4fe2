"""Faithfulness of maps, against scikit-learn and against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.manifold

from mlcore.evaluation import knn_kept, trustworthiness


def noisy_map(count, noise, seed=0):
    random = np.random.default_rng(seed)
    low = random.normal(size=(count, 2))
    high = np.concatenate([low, np.full((count, 1), 4.0), noise * random.normal(size=(count, 3))], axis=1)
    return high, low


@pytest.mark.parametrize(("count", "noise", "k"), [(40, 0.3, 5), (300, 1.0, 15), (1200, 0.1, 15), (600, 10.0, 30)])
def test_trustworthiness_is_that_of_scikit_learn(count, noise, k):
    high, low = noisy_map(count, noise)
    unit = high / np.linalg.norm(high, axis=1, keepdims=True)
    expected = sklearn.manifold.trustworthiness(unit, low, n_neighbors=k)
    assert trustworthiness(high, low, k) == pytest.approx(expected, abs=1e-6)


def test_a_map_far_from_the_origin_is_as_faithful():
    high, low = noisy_map(400, 0.1)
    assert trustworthiness(high, low + 500) == pytest.approx(trustworthiness(high, low), abs=1e-4)


def test_knn_kept_is_the_share_of_a_slow_loop():
    high, low = noisy_map(60, 0.5)
    unit = high / np.linalg.norm(high, axis=1, keepdims=True)
    kept = knn_kept(high, low, k=6)
    for row in range(60):
        others = [other for other in range(60) if other != row]
        before = sorted(others, key=lambda other: np.linalg.norm(unit[row] - unit[other]))[:6]
        after = sorted(others, key=lambda other: np.linalg.norm(low[row] - low[other]))[:6]
        assert kept.per_point[row] == pytest.approx(len(set(before) & set(after)) / 6)
    assert kept.mean == pytest.approx(kept.per_point.mean())


def test_a_map_that_is_the_embedding_keeps_all():
    angles = np.random.default_rng(0).uniform(0, 6, 200)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert knn_kept(5 * circle, circle).mean == 1.0
    assert trustworthiness(5 * circle, circle) == 1.0


def test_points_on_one_spot_of_the_map_do_not_stop_it():
    high, _ = noisy_map(100, 0.5)
    assert 0 <= knn_kept(high, np.zeros((100, 2))).mean < 0.5
    assert 0 <= trustworthiness(high, np.zeros((100, 2))) < 0.9


@pytest.mark.parametrize("measure", [knn_kept, trustworthiness])
def test_a_map_of_other_points_is_refused(measure):
    with pytest.raises(ValueError, match="a point per embedding, 40; got 39"):
        measure(np.ones((40, 3)), np.ones((39, 2)))


def test_too_few_points_for_k_are_refused():
    with pytest.raises(ValueError, match="below the 15 points"):
        knn_kept(np.ones((15, 3)), np.ones((15, 2)))
    with pytest.raises(ValueError, match="below half the 30 points"):
        trustworthiness(np.ones((30, 3)), np.ones((30, 2)))
