"""N-pairs loss against its equation, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch

from mlcore.distances import DotProductSimilarity
from mlcore.losses import NPairsLoss
from mlcore.miners import BatchHardMiner
from mlcore.tuples import Pairs


def by_hand(anchors, positives, weight):
    losses = []
    for i, anchor in enumerate(anchors):
        own = torch.dot(anchor, positives[i]).item()
        others = sum(math.exp(torch.dot(anchor, other).item() - own) for j, other in enumerate(positives) if j != i)
        length = anchor.square().sum().item() + positives[i].square().sum().item()
        losses.append(math.log1p(others) + weight * length)
    return sum(losses) / len(losses)


def sample(seed, count=10):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.arange(count) % 5


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("weight", [0.0, 0.002, 0.5])
def test_two_samples_of_each_class_give_the_loss_of_the_paper(weight, seed):
    embeddings, labels = sample(seed)
    value = NPairsLoss(l2_reg_weight=weight)(embeddings, labels)
    assert value.item() == pytest.approx(by_hand(embeddings[:5], embeddings[5:], weight))


def test_known_vectors_give_the_known_number():
    embeddings = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    value = NPairsLoss(l2_reg_weight=0.1)(embeddings, torch.tensor([0, 0, 1, 1]))
    # ln(1 + e^-2) + 0.5 and ln(1 + e^-1) + 0.2
    assert value.item() == pytest.approx((0.126928 + 0.5 + 0.313262 + 0.2) / 2, abs=1e-6)


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning_which_normalises(mined):
    torch.manual_seed(2)
    embeddings, labels = torch.randn(30, 4, dtype=torch.float64), torch.randint(6, (30,))
    tuples = BatchHardMiner()(embeddings, labels) if mined else None
    ours = NPairsLoss(distance=DotProductSimilarity(), l2_reg_weight=0.0)
    torch.testing.assert_close(ours(embeddings, labels, tuples), pml.NPairsLoss()(embeddings, labels, tuples))


def test_positives_may_come_from_a_reference():
    embeddings, labels = sample(3)
    value = NPairsLoss()(embeddings[:5], labels[:5], None, embeddings[5:], labels[5:])
    assert value.item() == pytest.approx(by_hand(embeddings[:5], embeddings[5:], 0.002))


def test_a_positive_far_behind_a_stranger_loses_all_of_its_lag():
    embeddings, labels = sample(3)
    embeddings = (30.0 * embeddings).requires_grad_()
    value = NPairsLoss(l2_reg_weight=0.0)(embeddings, labels)
    products = embeddings[:5] @ embeddings[5:].T
    expected = torch.nn.functional.cross_entropy(products, torch.arange(5))
    assert (products.amax(dim=1) - products.diagonal()).max() > 100.0
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, embeddings)[0] for loss in (value, expected)))


def test_one_class_with_a_pair_loses_nothing_not_even_for_its_length():
    embeddings = sample(4)[0]
    assert NPairsLoss(l2_reg_weight=1.0)(embeddings, torch.tensor([0, 0, 0, *range(1, 8)])).item() == 0.0


def test_labels_are_needed_beside_tuples():
    tuples = Pairs(*(torch.tensor([column]) for column in range(4)))
    with pytest.raises(ValueError, match="labels must be given, also with an indices_tuple"):
        NPairsLoss()(sample(5)[0], None, tuples)
