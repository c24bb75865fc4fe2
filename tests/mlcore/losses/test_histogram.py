"""Histogram loss against loops over pairs and bins, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import HistogramLoss
from mlcore.miners import TripletMarginMiner


def by_hand(embeddings, labels, bins):
    """Triangular weights around the points -1, -1 + delta ... 1."""
    delta = 2 / bins
    points = [-1 + r * delta for r in range(bins + 1)]
    kinds = ([], [])
    for i in range(len(embeddings)):
        for j in range(i):
            cosine = F.cosine_similarity(embeddings[i], embeddings[j], dim=0).item()
            kinds[bool(labels[i] == labels[j])].append(cosine)
    negative, positive = (
        [sum(max(0.0, 1 - abs(s - point) / delta) for s in kind) / len(kind) for point in points] for kind in kinds
    )
    return sum(h * sum(positive[: r + 1]) for r, h in enumerate(negative))


theirs_warn = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")


def sample(seed, count=12, classes=3):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize("bins", [2, 20, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_paper(bins, seed):
    embeddings, labels = sample(seed)
    assert HistogramLoss(n_bins=bins)(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, bins))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    labels = torch.tensor([0, 1, 0])
    # the positive at 0.5, halfway between the points 0 and 1; negatives at 1 and 0.5: (1 + (0.5 * 0.5 + 0.5 * 1)) / 2
    assert HistogramLoss(n_bins=2)(embeddings, labels).item() == pytest.approx(0.875, abs=1e-6)


@theirs_warn
def test_value_and_gradient_match_pytorch_metric_learning():
    embeddings, labels = sample(2, 30)
    results = []
    for loss in (HistogramLoss(), pml.HistogramLoss()):
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])
    tuples = TripletMarginMiner()(embeddings, labels)
    ours, theirs = HistogramLoss(n_bins=40), pml.HistogramLoss(n_bins=40)
    torch.testing.assert_close(
        ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples), rtol=1e-5, atol=1e-6
    )  # their bins are found in single precision


@theirs_warn
def test_identical_embeddings_belong_to_the_last_point_where_theirs_fails():
    embeddings, labels = torch.ones(6, 3), torch.arange(6) % 2
    assert HistogramLoss()(embeddings, labels).item() == pytest.approx(1.0)
    with pytest.raises((RuntimeError, IndexError)):
        pml.HistogramLoss()(embeddings, labels)


def test_single_precision_agrees_with_double_over_many_pairs():
    embeddings, labels = sample(3, 400)
    double = HistogramLoss()(embeddings, labels)
    torch.testing.assert_close(HistogramLoss()(embeddings.float(), labels), double.float(), rtol=1e-5, atol=1e-6)


def test_the_step_may_be_given_in_place_of_the_bins():
    assert HistogramLoss().n_bins == 100
    assert HistogramLoss(delta=0.1).n_bins == HistogramLoss(n_bins=20, delta=0.1).n_bins == 20
    for wrong in ({"delta": 0.1, "n_bins": 30}, {"delta": -1.0}):
        with pytest.raises(ValueError, match="delta must be a step"):
            HistogramLoss(**wrong)
