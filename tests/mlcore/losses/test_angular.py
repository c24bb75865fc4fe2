"""Angular loss against its equation, triplet by triplet, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.losses import AngularLoss
from mlcore.miners import BatchHardMiner
from mlcore.tuples import tuple_masks


def by_hand(rows, others, positive, negative, alpha):
    """For each positive pair, over the negatives of its anchor."""
    rows, others = F.normalize(rows), F.normalize(others)
    square, losses = math.tan(alpha) ** 2, []
    for a, p in positive.nonzero().tolist():
        total = 0.0
        for n in negative[a].nonzero()[:, 0].tolist():
            across = 4 * square * torch.dot(rows[a] + others[p], others[n])
            total += math.exp(across - 2 * (1 + square) * torch.dot(rows[a], others[p]))
        losses.append(math.log1p(total))
    return sum(losses) / len(losses)


def sample(seed, count=12, classes=3):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


def masks(labels):
    same = labels[:, None] == labels
    return same & ~torch.eye(len(labels), dtype=torch.bool), ~same


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 1.25])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_paper(alpha, seed):
    embeddings, labels = sample(seed)
    expected = by_hand(embeddings, embeddings, *masks(labels), alpha)
    assert AngularLoss(alpha=alpha)(embeddings, labels).item() == pytest.approx(expected)


def test_with_a_reference_positives_and_negatives_are_both_from_there():
    embeddings, labels = sample(2, 6)
    reference, ref_labels = sample(3, 15)
    same = labels[:, None] == ref_labels
    expected = by_hand(embeddings, reference, same, ~same, 0.7)
    assert AngularLoss()(embeddings, labels, None, reference, ref_labels).item() == pytest.approx(expected)


def test_mined_negatives_are_the_only_ones():
    embeddings, labels = sample(4)
    tuples = BatchHardMiner()(embeddings, labels)
    expected = by_hand(embeddings, embeddings, *tuple_masks(tuples, (12, 12)), 0.7)
    assert AngularLoss()(embeddings, labels, tuples).item() == pytest.approx(expected)


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = AngularLoss(alpha=math.pi / 4)(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(0.018150, abs=1e-6)  # f = 4 * 0 - 2 * 2 * 1: ln(1 + e^-4)


def test_value_and_gradient_match_pytorch_metric_learning_where_negatives_have_length_one():
    embeddings, labels = sample(5, 30)
    results = []
    for loss in (AngularLoss(alpha=0.6), pml.AngularLoss(alpha=math.degrees(0.6))):
        leaf = F.normalize(embeddings).requires_grad_()
        value = loss(F.normalize(leaf), labels)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])
    assert not math.isclose(pml.AngularLoss()(3 * embeddings, labels), pml.AngularLoss()(embeddings, labels))


@pytest.mark.parametrize("alpha", [0.7, 1.1, 1.4])
def test_single_precision_agrees_with_double_up_to_the_widest_angle(alpha):
    embeddings, labels = sample(6, 60)
    results = []
    for rows in (embeddings, embeddings.float()):
        leaf = rows.clone().requires_grad_()
        value = AngularLoss(alpha=alpha)(leaf, labels)
        value.backward()
        results.append((value.detach().double(), leaf.grad.double()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_gradient_is_that_of_the_value_with_a_reference_and_at_the_widest_angle():
    embeddings, labels = sample(7, 6)
    reference, ref_labels = sample(8, 7)
    leaves = embeddings.requires_grad_(), reference.requires_grad_()
    for alpha in (0.7, 1.4):
        loss = AngularLoss(alpha=alpha)
        assert torch.autograd.gradcheck(lambda a, b, loss=loss: loss(a, labels, None, b, ref_labels), leaves)


def test_degrees_and_other_distances_are_refused():
    with pytest.raises(ValueError, match=r"If that is degrees, pass 0\.698"):
        AngularLoss(alpha=40)
    for distance in (CosineSimilarity(), LpDistance(power=2), LpDistance(normalize_embeddings=False)):
        with pytest.raises(ValueError, match="distance must be LpDistance"):
            AngularLoss(distance=distance)
