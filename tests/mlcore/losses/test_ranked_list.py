"""The ranked list loss against its paper, item by item, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity
from mlcore.losses import FastAPLoss, PNPLoss, RankedListLoss, RecallAtKLoss, SigLipLoss, SmoothAPLoss
from mlcore.reducers import ClassWeightedReducer, DoNothingReducer


def weighted(excesses, temperature):
    """Equations 6 to 9 of arXiv:1903.03238."""
    wrong = [excess for excess in excesses if excess > 0]
    weights = [math.exp(temperature * excess) for excess in wrong]
    return sum(w * e for w, e in zip(weights, wrong, strict=True)) / sum(weights) if wrong else 0.0


def by_hand(embeddings, labels, margin=0.4, Tn=10.0, imbalance=0.5, alpha=None, Tp=0.0):
    alpha = 1 + margin / 2 if alpha is None else alpha
    unit, losses = F.normalize(embeddings), []
    for a in range(len(unit)):
        away = [(unit[a] - other).norm().item() for other in unit]
        mates = [away[i] - (alpha - margin) for i in range(len(unit)) if i != a and labels[i] == labels[a]]
        strangers = [alpha - away[i] for i in range(len(unit)) if labels[i] != labels[a]]
        losses.append((1 - imbalance) * weighted(mates, Tp) + imbalance * weighted(strangers, Tn))
    return sum(losses) / len(losses)


def sample(seed, count=14):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "knobs", [{}, {"margin": 0.8, "Tn": 0.0, "Tp": 5.0, "imbalance": 0.2}, {"alpha": 1.6}], ids=["", "others", "alpha"]
)
def test_matches_the_paper(knobs, seed):
    embeddings, labels = sample(seed)
    assert RankedListLoss(**knobs)(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, **knobs))


def test_matches_the_value_of_pytorch_metric_learning_up_to_what_it_adds_to_the_weights():
    embeddings, labels = sample(3, 40)
    theirs = pml.RankedListLoss(margin=0.4, Tn=3)(embeddings, labels)
    torch.testing.assert_close(RankedListLoss(margin=0.4, Tn=3.0)(embeddings, labels), theirs, rtol=1e-3, atol=0.0)


def test_identical_strangers_lose_alpha_where_theirs_lose_nothing():
    embeddings, labels = torch.ones(2, 3), torch.tensor([0, 1])
    assert RankedListLoss()(embeddings, labels).item() == pytest.approx(0.5 * 1.2)
    assert pml.RankedListLoss(margin=0.4, Tn=5)(embeddings, labels).item() == 0.0


def test_gradient_is_that_of_the_distances_under_fixed_weights():
    embeddings, labels = sample(4)
    loss = RankedListLoss()
    mat = loss.distance(embeddings).detach().requires_grad_()
    loss.distance.forward = lambda *_: mat
    loss(embeddings, labels).backward()
    strangers = (labels[:, None] != labels) & (mat.detach() < 1.2)
    weights = (-10.0 * mat.detach()).masked_fill(~strangers, -torch.inf).softmax(dim=1).nan_to_num(0.0)
    torch.testing.assert_close(mat.grad[strangers], -0.5 * weights[strangers] / len(labels))


def test_nothing_is_lost_inside_and_outside_the_radii():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]])
    assert RankedListLoss()(embeddings, torch.tensor([0, 0, 1, 1])).item() == 0.0


def test_a_similarity_is_refused():
    with pytest.raises(ValueError, match="must not be a similarity"):
        RankedListLoss(distance=CosineSimilarity())


@pytest.mark.parametrize("build", [RankedListLoss, SmoothAPLoss, PNPLoss, RecallAtKLoss, FastAPLoss, SigLipLoss])
def test_losses_of_a_row_know_whose_they_are(build):
    embeddings, labels = sample(5)
    labels[0] = 9  # alone in its class
    losses = build(reducer=DoNothingReducer())(embeddings, labels)
    (items,) = losses.values()
    anchors = torch.arange(len(labels))[len(labels) - len(items) :]
    weights = torch.arange(10.0)
    weighted_loss = build(reducer=ClassWeightedReducer(weights))(embeddings, labels)
    torch.testing.assert_close(weighted_loss, (items * weights[labels[anchors]]).mean(), check_dtype=False)
