"""Angles between embeddings placed by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mlcore.evaluation import angle_histograms, sample_angles


def at_degrees(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * 3.0


def filled(histogram, bins=90):
    """Which degrees a histogram's bars begin at, one entry per count."""
    return [180 / bins * place for place, count in enumerate(histogram["counts"]) for _ in range(count)]


def test_pairs_are_counted_once_at_their_angle():
    histograms = angle_histograms(at_degrees(0, 31, 101), np.array([5, 5, 9]))
    assert filled(histograms["positive_pairs"]) == [30]
    assert filled(histograms["negative_pairs"]) == [70, 100]
    assert histograms["positive_pairs"]["median"] == pytest.approx(math.radians(31), abs=1e-5)
    assert histograms["negative_pairs"]["median"] == pytest.approx(math.radians(85.5), abs=1e-5)


def test_opposite_embeddings_are_in_the_last_bar():
    histograms = angle_histograms(at_degrees(0, 180), np.array([0, 0]), bins=18)
    assert filled(histograms["positive_pairs"], bins=18) == [170]


def test_proxy_angles_are_to_the_own_and_to_the_nearest_other():
    embeddings, labels = at_degrees(0, 91), np.array([3, 8])
    histograms = angle_histograms(embeddings, labels, at_degrees(11, 61, 171), np.array([3, 8, 6]))
    assert filled(histograms["own_proxy"]) == [10, 30]
    assert filled(histograms["nearest_other_proxy"]) == [60, 80]


def test_proxies_without_labels_are_classes_from_zero():
    histograms = angle_histograms(at_degrees(5, 85), np.array([0, 1]), at_degrees(0, 90))
    assert histograms["own_proxy"]["median"] == pytest.approx(math.radians(5), abs=1e-5)


def test_a_sample_whose_class_has_no_proxy_is_in_no_proxy_part():
    embeddings, labels = at_degrees(0, 50, 99), np.array([0, 0, 77])
    histograms = angle_histograms(embeddings, labels, at_degrees(21), np.array([0]))
    assert filled(histograms["own_proxy"]) == [20, 28]
    assert histograms["nearest_other_proxy"] is None
    assert angle_histograms(embeddings[2:], labels[2:], at_degrees(21))["own_proxy"] is None


def test_of_several_proxies_of_a_class_the_nearest_counts():
    proxies = np.stack([at_degrees(40, 20), at_degrees(130, 161)])  # (2, 2, 2)
    angles = sample_angles(at_degrees(0), np.array([0]), proxies)
    assert math.degrees(angles.own_proxy[0]) == pytest.approx(20, abs=1e-3)
    assert math.degrees(angles.nearest_other_proxy[0]) == pytest.approx(130, abs=1e-3)


def test_parts_without_anything_to_count_are_none():
    histograms = angle_histograms(at_degrees(0, 40), np.array([0, 1]))
    assert [name for name, part in histograms.items() if part is None] == [
        "positive_pairs",
        "own_proxy",
        "nearest_other_proxy",
    ]


def test_sample_angles_are_the_extremes_of_the_others_and_nan_where_there_is_none():
    angles = sample_angles(at_degrees(0, 10, 45, 100), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(np.degrees(angles.farthest_positive), [45, 35, 45, np.nan], atol=1e-3)
    np.testing.assert_allclose(np.degrees(angles.nearest_negative), [100, 90, 55, 55], atol=1e-3)
    assert np.isnan(angles.own_proxy).all()
    assert np.isnan(sample_angles(at_degrees(0, 10), np.array([0, 0])).nearest_negative).all()


def test_sample_angles_of_blocks_are_those_of_the_whole_table():
    random = np.random.default_rng(0)
    embeddings, labels = random.normal(size=(1300, 6)), np.arange(1300) % 4
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    angles, same = np.arccos(np.clip(unit @ unit.T, -1, 1)), labels[:, None] == labels
    measured = sample_angles(embeddings, labels)
    np.testing.assert_allclose(measured.nearest_negative, np.where(same, np.inf, angles).min(axis=1), atol=1e-3)
    np.testing.assert_allclose(measured.farthest_positive, np.where(same, angles, 0).max(axis=1), atol=1e-3)


def test_answer_fits_into_an_event_line_at_its_largest():
    random = np.random.default_rng(0)
    embeddings, labels = random.normal(size=(2100, 16)), random.integers(0, 2, 2100)
    line = json.dumps(angle_histograms(embeddings, labels, random.normal(size=(2, 16))), allow_nan=False)
    assert len(line) < 4096


def test_a_large_set_is_sampled_the_same_way_each_time():
    random = np.random.default_rng(0)
    embeddings, labels = random.normal(size=(500, 4)), np.arange(500) % 5
    first = angle_histograms(embeddings, labels, max_points=100, seed=1)
    assert first == angle_histograms(embeddings, labels, max_points=100, seed=1)
    assert first != angle_histograms(embeddings, labels, max_points=100, seed=2)
    assert (first["samples"], first["of"]) == (100, 500)


def test_positive_pairs_are_in_the_sample_even_of_many_small_classes():
    random = np.random.default_rng(0)
    labels = np.arange(12_000) % 1000
    histograms = angle_histograms(random.normal(size=(12_000, 4)), labels, max_points=400)
    assert histograms["samples"] == 400
    assert sum(histograms["positive_pairs"]["counts"]) == 50 * 28  # 8 samples each of 50 classes


def test_proxies_of_another_width_are_refused():
    with pytest.raises(ValueError, match="proxies must have 2 columns"):
        angle_histograms(at_degrees(0, 1), np.array([0, 1]), np.ones((2, 3)))


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="one per embedding"):
        sample_angles(at_degrees(0, 1), np.array([0, 1, 2]))
