"""SNR contrastive loss against a loop over pairs, and against pytorch-metric-learning."""

from __future__ import annotations

import statistics

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance, SNRDistance
from mlcore.losses import SignalToNoiseRatioContrastiveLoss
from mlcore.miners import MultiSimilarityMiner


def by_hand(embeddings, labels, pos_margin, neg_margin):
    rows = F.normalize(embeddings).tolist()
    halves = ([], [])
    for i, signal in enumerate(rows):
        for j, other in enumerate(rows):
            if i != j:
                noise = statistics.variance([a - b for a, b in zip(signal, other, strict=True)])
                ratio = noise / statistics.variance(signal)
                alike = bool(labels[i] == labels[j])
                halves[alike].append(max(0.0, ratio - pos_margin if alike else neg_margin - ratio))
    return sum(sum(half) / max(1, sum(item > 0 for item in half)) for half in halves)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 5, dtype=torch.float64), torch.randint(3, (count,))


@pytest.mark.parametrize(("pos_margin", "neg_margin"), [(0.0, 1.0), (0.5, 3.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_a_loop_over_pairs(pos_margin, neg_margin, seed):
    embeddings, labels = sample(seed)
    loss = SignalToNoiseRatioContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin)
    assert loss(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, pos_margin, neg_margin))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined, normalize):
    embeddings, labels = sample(2, 30)
    tuples = MultiSimilarityMiner()(embeddings, labels) if mined else None
    ours = SignalToNoiseRatioContrastiveLoss(distance=SNRDistance(normalize_embeddings=normalize))
    theirs = pml.SignalToNoiseRatioContrastiveLoss(distance=pml_distances.SNRDistance(normalize_embeddings=normalize))
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))


def test_another_distance_is_refused():
    with pytest.raises(ValueError, match=r"distance must be SNRDistance\(\); got LpDistance"):
        SignalToNoiseRatioContrastiveLoss(distance=LpDistance())
