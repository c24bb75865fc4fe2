"""Centroid triplet loss against loops over samples and classes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.losses import CentroidTripletLoss
from mlcore.reducers import MeanReducer
from mlcore.tuples import Triplets


def by_hand(left, left_labels, right, right_labels, own, margin, smooth):
    left, right = F.normalize(left), F.normalize(right)
    losses = []
    for i, anchor in enumerate(left):
        kept = torch.arange(len(right)) != i if own else torch.ones(len(right), dtype=torch.bool)
        mates = right[(right_labels == left_labels[i]) & kept]
        if len(mates) == 0:
            continue
        to_own = (anchor - mates.mean(dim=0)).square().sum().item()
        for label in right_labels.unique():
            if label != left_labels[i]:
                to_other = (anchor - right[right_labels == label].mean(dim=0)).square().sum().item()
                violation = to_own - to_other + margin
                losses.append(math.log1p(math.exp(violation)) if smooth else max(0.0, violation))
    return losses


def sample(seed, count=12, classes=4):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("margin", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_matches_a_loop(margin, smooth, seed):
    embeddings, labels = sample(seed)
    losses = by_hand(embeddings, labels, embeddings, labels, True, margin, smooth)
    value = CentroidTripletLoss(margin=margin, smooth_loss=smooth)(embeddings, labels)
    assert value.item() == pytest.approx(sum(losses) / sum(item > 0 for item in losses))


def test_with_a_reference_means_are_those_of_the_reference():
    embeddings, labels = sample(3, 8)
    reference, ref_labels = sample(4, 15, 3)  # without the last class
    losses = by_hand(embeddings, labels, reference, ref_labels, False, 0.5, False)
    loss = CentroidTripletLoss(margin=0.5, reducer=MeanReducer())
    value = loss(embeddings, labels, None, reference, ref_labels)
    assert value.item() == pytest.approx(sum(losses) / len(losses))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]])
    value = CentroidTripletLoss(margin=0.5)(embeddings, torch.tensor([0, 0, 1, 1]))
    # first: 2 - 4 + 0.5 < 0; second: 2 - 2 + 0.5; the others: 0 - (1.5^2 + 0.5^2) + 0.5 < 0
    assert value.item() == pytest.approx(0.5)


def test_tuples_choose_the_anchors_and_the_other_classes_but_not_the_means():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0], [0.6, 0.8]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    chosen = Triplets(torch.tensor([1]), torch.tensor([0]), torch.tensor([2]))
    value = CentroidTripletLoss(margin=0.5, reducer=MeanReducer())(embeddings, labels, chosen)
    assert value.item() == pytest.approx(0.5)


def test_identical_embeddings_lose_the_margin_and_have_a_finite_gradient():
    embeddings = torch.ones(8, 3, requires_grad=True)
    for distance in (LpDistance(power=2), LpDistance()):
        value = CentroidTripletLoss(margin=0.3, distance=distance)(embeddings, torch.arange(8) % 2)
        value.backward()
        assert value.item() == pytest.approx(0.3, abs=1e-3)
        assert torch.isfinite(embeddings.grad).all()


def test_with_a_similarity_means_are_those_of_directions():
    embeddings, labels = sample(5)
    unit = F.normalize(embeddings)
    value = CentroidTripletLoss(distance=CosineSimilarity())(unit, labels)
    torch.testing.assert_close(CentroidTripletLoss(distance=CosineSimilarity())(3 * unit, labels), value)


def test_labels_are_needed_beside_tuples():
    tuples = Triplets(*(torch.tensor([column]) for column in range(3)))
    with pytest.raises(ValueError, match="labels must be given, also with an indices_tuple"):
        CentroidTripletLoss()(sample(6)[0], None, tuples)
