"""Threshold-consistent margin against its equation, and against pytorch-metric-learning."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import ThresholdConsistentMarginLoss
from mlcore.miners import MultiSimilarityMiner


def by_hand(left, left_labels, right, right_labels, own, settings):
    plus, minus = [], []
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            cosine = F.cosine_similarity(a, b, dim=0).item()
            if left_labels[i] == right_labels[j]:
                if not (own and i == j) and cosine <= settings["margin_plus"]:
                    plus.append(settings["margin_plus"] - cosine)
            elif cosine >= settings["margin_minus"]:
                minus.append(cosine - settings["margin_minus"])
    weights = settings["lambda_plus"], settings["lambda_minus"]
    return sum(w * sum(part) / max(1, len(part)) for w, part in zip(weights, (plus, minus), strict=True))


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(3, (count,))


SETTINGS = [
    {"lambda_plus": 1.0, "lambda_minus": 1.0, "margin_plus": 0.9, "margin_minus": 0.5},
    {"lambda_plus": 2.0, "lambda_minus": 0.5, "margin_plus": 0.3, "margin_minus": -0.2},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_paper(settings, seed):
    embeddings, labels = sample(seed)
    expected = by_hand(embeddings, labels, embeddings, labels, True, settings)
    assert ThresholdConsistentMarginLoss(**settings)(embeddings, labels).item() == pytest.approx(expected)


def test_with_a_reference_the_other_side_is_from_there_unlike_theirs():
    embeddings, labels = sample(2)
    reference, ref_labels = sample(3)
    value = ThresholdConsistentMarginLoss()(embeddings, labels, None, reference, ref_labels).item()
    assert value == pytest.approx(by_hand(embeddings, labels, reference, ref_labels, False, SETTINGS[0]))
    assert value != pytest.approx(
        pml.ThresholdConsistentMarginLoss()(embeddings, labels, None, reference, ref_labels).item()
    )


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    embeddings, labels = sample(4, 30)
    tuples = MultiSimilarityMiner()(embeddings, labels) if mined else None
    ours, theirs = ThresholdConsistentMarginLoss(), pml.ThresholdConsistentMarginLoss()
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))


def test_another_distance_is_refused():
    with pytest.raises(ValueError, match="distance must be CosineSimilarity"):
        ThresholdConsistentMarginLoss(distance=LpDistance())
