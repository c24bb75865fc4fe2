"""Circle loss on pairs against its equation, its own gradient rule, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import CircleLoss
from mlcore.miners import MultiSimilarityMiner


def by_hand(embeddings, labels, m, gamma):
    """Anchor by anchor, averaged over the anchors with a positive and a negative that lose something."""
    losses = []
    for i, anchor in enumerate(embeddings):
        near = [F.cosine_similarity(anchor, other, dim=0).item() for other in embeddings]
        others = [j for j in range(len(near)) if j != i]
        mates = [near[j] for j in others if labels[j] == labels[i]]
        strangers = [near[j] for j in others if labels[j] != labels[i]]
        pull = sum(math.exp(-gamma * max(0.0, 1 + m - s) * (s - 1 + m)) for s in mates)
        push = sum(math.exp(gamma * max(0.0, s + m) * (s - m)) for s in strangers)
        losses.append(math.log1p(pull * push))
    above = [item for item in losses if item > 0]
    return sum(above) / len(above)


def sample(seed, count=12, classes=3):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize(("m", "gamma"), [(0.25, 16.0), (0.4, 80.0), (0.0, 1.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_paper(m, gamma, seed):
    embeddings, labels = sample(seed)
    value = CircleLoss(m=m, gamma=gamma)(embeddings, labels)
    assert value.item() == pytest.approx(by_hand(embeddings, labels, m, gamma))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = CircleLoss(m=0.5, gamma=2.0)(embeddings, torch.tensor([0, 0, 1]))
    # exp(-2 * 0.5 * 0.5) times exp(2 * 0.5 * -0.5) gives ln(1 + 1/e), twice; the third has no positive
    assert value.item() == pytest.approx(0.313262, abs=1e-6)


def test_weights_take_no_gradient():
    angles = torch.tensor([0.3, 1.2], dtype=torch.float64, requires_grad=True)
    rows = torch.stack([torch.stack([a.cos(), a.sin()]) for a in (torch.zeros(()).double(), *angles)])
    tuples = tuple(torch.tensor(column) for column in ([0], [1], [0], [2]))
    CircleLoss(m=0.4, gamma=5.0)(rows, None, tuples).backward()
    s_p, s_n = (angle.cos().item() for angle in angles)
    exponent = -5.0 * (1.4 - s_p) * (s_p - 0.6) + 5.0 * (s_n + 0.4) * (s_n - 0.4)
    share = 1.0 / (1.0 + math.exp(-exponent))
    by_cosine = -5.0 * (1.4 - s_p) * share, 5.0 * (s_n + 0.4) * share
    expected = [slope * -angle.sin().item() for slope, angle in zip(by_cosine, angles, strict=True)]
    assert angles.grad.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("mined", [False, True])
def test_value_and_gradient_match_pytorch_metric_learning(mined):
    embeddings, labels = sample(2, 40)
    tuples = MultiSimilarityMiner()(embeddings, labels) if mined else None
    results = []
    for loss in (CircleLoss(), pml.CircleLoss()):
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels, tuples)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


def test_matches_pytorch_metric_learning_with_a_reference():
    embeddings, labels = sample(3)
    reference, ref_labels = sample(4, 20)
    arguments = (embeddings, labels, None, reference, ref_labels)
    torch.testing.assert_close(CircleLoss()(*arguments), pml.CircleLoss()(*arguments))


def test_another_distance_is_refused():
    with pytest.raises(ValueError, match="distance must be CosineSimilarity"):
        CircleLoss(distance=LpDistance())
