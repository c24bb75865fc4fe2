"""Margin loss against a triple loop, its boundary fixed, learned and per class, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity
from mlcore.losses import LOSSES, MarginLoss
from mlcore.miners import BatchHardMiner, MultiSimilarityMiner, TripletMarginMiner
from mlcore.reducers import DoNothingReducer, MeanReducer, SumReducer


def by_hand(embeddings, labels, margin, betas, nu=0.0):
    """Over every triplet: the sum, the number of hinges above zero, and the number of triplets."""
    rows = F.normalize(embeddings).tolist()
    total, above, count = 0.0, 0, 0
    for a, anchor in enumerate(rows):
        for p, positive in enumerate(rows):
            for n, negative in enumerate(rows):
                if p == a or labels[p] != labels[a] or labels[n] == labels[a]:
                    continue
                beta = betas[labels[a]] if len(betas) > 1 else betas[0]
                hinges = [math.dist(anchor, positive) - beta + margin, beta - math.dist(anchor, negative) + margin]
                total += sum(max(0.0, hinge) for hinge in hinges) + nu * beta
                above += sum(hinge > 0 for hinge in hinges)
                count += 1
    return total, above, count


def sample(seed, count=12, classes=3):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize(("margin", "beta"), [(0.2, 1.2), (0.0, 1.0), (0.7, 0.4)])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_a_triple_loop(margin, beta, seed):
    embeddings, labels = sample(seed)
    total, above, count = by_hand(embeddings, labels, margin, [beta])
    value = MarginLoss(margin=margin, beta=beta)(embeddings, labels)
    assert value.item() == pytest.approx(total / above)
    mean = MarginLoss(margin=margin, beta=beta, reducer=MeanReducer())(embeddings, labels)
    assert mean.item() == pytest.approx(total / count)


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, math.sqrt(0.75)]])
    value = MarginLoss()(embeddings, torch.tensor([0, 0, 1]))
    # positive 1.41421 - 1.2 + 0.2, twice; negatives 1.2 - 1 + 0.2 and 1.2 - 0.51764 + 0.2; four hinges
    assert value.item() == pytest.approx(0.5276970, abs=1e-6)


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("miner", [None, BatchHardMiner(), TripletMarginMiner()])
def test_value_and_gradients_match_pytorch_metric_learning(miner, per_class):
    embeddings, labels = sample(2, 30)
    tuples = miner and miner(embeddings, labels)
    options = {"nu": 0.3, "learn_beta": True, "num_classes": 3 if per_class else None}
    results = []
    for loss in (MarginLoss(**options).double(), pml.MarginLoss(**options).double()):
        with torch.no_grad():
            loss.beta.mul_(torch.linspace(0.8, 1.1, len(loss.beta)))
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels, tuples)
        value.sum().backward()
        results.append((value.detach().reshape(()), leaf.grad, loss.beta.grad))
    torch.testing.assert_close(results[0], results[1])


def test_matches_pytorch_metric_learning_with_pairs_and_a_reference():
    embeddings, labels = sample(3, 30)
    tuples = MultiSimilarityMiner()(embeddings, labels)
    torch.testing.assert_close(MarginLoss()(embeddings, labels, tuples), pml.MarginLoss()(embeddings, labels, tuples))
    reference, ref_labels = sample(4, 20)
    arguments = (embeddings, labels, None, reference, ref_labels)
    torch.testing.assert_close(MarginLoss()(*arguments), pml.MarginLoss()(*arguments))


def test_a_boundary_per_class_is_that_of_the_anchor_and_its_cost_counts_per_triplet():
    embeddings, labels = sample(5)
    loss = MarginLoss(beta_per_class=True, num_classes=3, learn_beta=True, nu=0.1).double()
    with torch.no_grad():
        loss.beta.copy_(torch.tensor([0.6, 1.0, 1.3]))
    total, above, _ = by_hand(embeddings, labels, 0.2, loss.beta.tolist(), nu=0.1)
    assert loss(embeddings, labels).item() == pytest.approx(total / above)


@pytest.mark.parametrize("per_class", [False, True])
def test_items_and_sums_say_the_same(per_class):
    embeddings, labels = sample(6)
    options = {"nu": 0.2, "learn_beta": True, "num_classes": 3 if per_class else None}
    items = MarginLoss(**options, reducer=DoNothingReducer()).double()(embeddings, labels)
    total = MarginLoss(**options, reducer=SumReducer()).double()(embeddings, labels)
    torch.testing.assert_close(sum(part.sum() for part in items.values()), total)
    assert len(items["beta_reg_loss"]) == (len(items["margin_loss"]) if per_class else 1)


def test_gradient_by_a_learned_boundary_is_that_of_the_value():
    embeddings, labels = sample(7, 9)
    loss = MarginLoss(learn_beta=True, nu=0.1, num_classes=3).double()

    def value(rows, beta):
        return torch.func.functional_call(loss, {"beta": beta}, (rows, labels))

    assert torch.autograd.gradcheck(value, (embeddings.requires_grad_(), loss.beta.detach().requires_grad_()))


def test_boundary_is_saved_and_learned_only_when_asked():
    assert [name for name, _ in MarginLoss().named_parameters()] == []
    assert list(MarginLoss().state_dict()) == ["beta"]
    assert [name for name, _ in MarginLoss(learn_beta=True).named_parameters()] == ["beta"]


def test_a_declared_loss_gets_the_number_of_classes_only_for_a_boundary_per_class():
    sizes = {"num_classes": 7, "embedding_size": 4}
    assert len(LOSSES["margin"].build(sizes).beta) == 1
    assert len(LOSSES["margin"].build(sizes, beta_per_class=True).beta) == 7


def test_a_batch_without_triplets_costs_no_boundary():
    for num_classes in (None, 3):
        loss = MarginLoss(learn_beta=True, nu=0.5, num_classes=num_classes)
        assert loss(torch.randn(3, 4), torch.arange(3)).item() == 0.0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must come with num_classes"):
        MarginLoss(beta_per_class=True)
    with pytest.raises(ValueError, match="with a cosine, beta must be between -1 and 1"):
        MarginLoss(distance=CosineSimilarity())
    loss = MarginLoss(num_classes=3)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\).*got 5"):
        loss(torch.randn(2, 4), torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="labels must be given where beta is per class"):
        loss(torch.randn(3, 4), None, tuple(torch.tensor([column]) for column in range(3)))
