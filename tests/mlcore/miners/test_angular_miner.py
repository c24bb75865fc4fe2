"""Angular mining against a triple loop, and against pytorch-metric-learning where that measures unit embeddings."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.miners as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.miners import AngularMiner, angular
from mlcore.tuples import all_triplets


def sample(seed, count=14):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(3, (count,))


def rows_of(triplets):
    return list(zip(*(column.tolist() for column in triplets), strict=True))


def by_hand(embeddings, labels, reference, ref_labels, angle):
    kept = []
    for a, p, n in rows_of(all_triplets(labels, ref_labels)):
        others = embeddings if reference is None else reference
        middle = (embeddings[a] + others[p]) / 2
        apart, away = (embeddings[a] - others[p]).norm(), (others[n] - middle).norm()
        if math.atan2(apart.item(), 2.0 * away.item()) > angle:
            kept.append((a, p, n))
    return kept


@pytest.mark.parametrize("angle", [0.0, 0.349, 0.7, 1.2])
@pytest.mark.parametrize("seed", range(2))
def test_keeps_the_triplets_above_the_angle(seed, angle):
    embeddings, labels = sample(seed)
    unit = F.normalize(embeddings)
    expected = by_hand(unit, labels, None, None, angle)
    assert rows_of(AngularMiner(angle=angle)(embeddings, labels)) == expected
    assert rows_of(AngularMiner(angle=angle, distance=CosineSimilarity())(embeddings, labels)) == expected
    # It takes degrees, and does not normalise although its distance says so.
    assert sorted(rows_of(pml.AngularMiner(angle=math.degrees(angle))(unit, labels))) == expected


def test_raw_embeddings_are_measured_where_the_distance_says_so():
    embeddings, labels = sample(3)
    raw = AngularMiner(distance=LpDistance(normalize_embeddings=False))
    assert rows_of(raw(embeddings, labels)) == by_hand(embeddings, labels, None, None, raw.angle)


def test_positives_and_negatives_may_come_from_a_reference(monkeypatch):
    monkeypatch.setattr(angular, "BLOCK", 50)
    (embeddings, labels), (reference, ref_labels) = sample(4), sample(5, 17)
    expected = by_hand(F.normalize(embeddings), labels, F.normalize(reference), ref_labels, math.radians(20))
    assert rows_of(AngularMiner()(embeddings, labels, reference, ref_labels)) == expected


def test_degrees_are_refused_with_the_angle_in_radians():
    with pytest.raises(ValueError, match=r"If that is degrees, pass 0\.349"):
        AngularMiner(angle=20)


@pytest.mark.parametrize("distance", [LpDistance(p=1), LpDistance(power=2)])
def test_a_distance_that_is_not_euclidean_is_refused(distance):
    with pytest.raises(ValueError, match="distance must be LpDistance"):
        AngularMiner(distance=distance)
