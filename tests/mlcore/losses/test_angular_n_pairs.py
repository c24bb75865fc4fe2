"""Angular N-pairs against the sum of the two equations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import AngularLoss, AngularNPairsLoss, NPairsLoss


def by_hand(anchors, positives, alpha, weight, l2):
    square, losses = math.tan(alpha) ** 2, []
    for i, (anchor, positive) in enumerate(zip(anchors, positives, strict=True)):
        others = [j for j in range(len(anchors)) if j != i]
        picking = sum(math.exp(torch.dot(anchor, positives[j] - positive)) for j in others)
        a, p = F.normalize(anchor, dim=0), F.normalize(positive, dim=0)
        seen = 0.0
        for j in others:
            for n in (F.normalize(anchors[j], dim=0), F.normalize(positives[j], dim=0)):
                seen += math.exp(4 * square * torch.dot(a + p, n) - 2 * (1 + square) * torch.dot(a, p))
        length = (anchor.square().sum() + positive.square().sum()).item()
        losses.append(math.log1p(picking) + weight * math.log1p(seen) + l2 * length)
    return sum(losses) / len(losses)


def sample(seed):
    torch.manual_seed(seed)
    return torch.randn(10, 4, dtype=torch.float64), torch.arange(10) % 5


@pytest.mark.parametrize(("alpha", "weight", "l2"), [(0.7, 2.0, 0.002), (0.5, 1.0, 0.0), (1.2, 0.3, 0.1)])
def test_matches_the_paper(alpha, weight, l2):
    embeddings, labels = sample(0)
    loss = AngularNPairsLoss(alpha=alpha, angular_weight=weight, l2_reg_weight=l2)
    expected = by_hand(embeddings[:5], embeddings[5:], alpha, weight, l2)
    assert loss(embeddings, labels).item() == pytest.approx(expected)


def test_with_two_of_each_class_it_is_the_sum_of_its_two_parts():
    """The angular loss there goes over (a, p) and (p, a), which cost the same."""
    embeddings, labels = sample(1)
    total = NPairsLoss()(embeddings, labels) + 2.0 * AngularLoss()(embeddings, labels)
    torch.testing.assert_close(AngularNPairsLoss()(embeddings, labels), total)


def test_only_the_first_pair_of_each_class_counts():
    embeddings, labels = sample(2)
    more = torch.cat([embeddings, torch.randn(5, 4, dtype=torch.float64)])
    torch.testing.assert_close(AngularNPairsLoss()(more, torch.arange(15) % 5), AngularNPairsLoss()(embeddings, labels))


def test_one_class_with_a_pair_loses_nothing():
    assert AngularNPairsLoss()(sample(3)[0], torch.tensor([0, 0, 0, *range(1, 8)])).item() == 0.0
