"""Intra-pair variance against its equations, and against pytorch-metric-learning."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import IntraPairVarianceLoss
from mlcore.miners import MultiSimilarityMiner


def by_hand(embeddings, labels, pos_eps, neg_eps):
    halves = ([], [])
    for i, left in enumerate(embeddings):
        for j, right in enumerate(embeddings):
            if i != j:
                halves[bool(labels[i] == labels[j])].append(F.cosine_similarity(left, right, dim=0).item())
    strangers, mates = halves
    floor, ceiling = (1 - pos_eps) * sum(mates) / len(mates), (1 + neg_eps) * sum(strangers) / len(strangers)
    pos_loss = sum(max(0.0, floor - s) ** 2 for s in mates) / len(mates)
    return pos_loss + sum(max(0.0, s - ceiling) ** 2 for s in strangers) / len(strangers)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(3, (count,))


@pytest.mark.parametrize(("pos_eps", "neg_eps"), [(0.01, 0.01), (0.0, 0.5), (0.3, 0.1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_paper(pos_eps, neg_eps, seed):
    embeddings, labels = sample(seed)
    loss = IntraPairVarianceLoss(pos_eps=pos_eps, neg_eps=neg_eps)
    assert loss(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, pos_eps, neg_eps))


@pytest.mark.parametrize("mined", [False, True])
def test_value_and_gradient_match_pytorch_metric_learning(mined):
    embeddings, labels = sample(2, 30)
    tuples = MultiSimilarityMiner()(embeddings, labels) if mined else None
    results = []
    for loss in (IntraPairVarianceLoss(), pml.IntraPairVarianceLoss()):
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels, tuples)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


def test_matches_pytorch_metric_learning_with_distances():
    embeddings, labels = sample(3, 20)
    ours = IntraPairVarianceLoss(distance=LpDistance())
    theirs = pml.IntraPairVarianceLoss(distance=pml_distances.LpDistance())
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))


def test_equal_similarities_cost_nothing():
    embeddings, labels = torch.eye(4).repeat(3, 1), torch.arange(4).repeat(3)
    assert IntraPairVarianceLoss()(embeddings, labels).item() == 0.0


def test_steps_down_the_gradient_even_out_the_similarities():
    embeddings, labels = sample(4, 16)
    same = (labels[:, None] == labels) & ~torch.eye(16, dtype=torch.bool)
    spreads = []
    embeddings.requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=0.02)
    for _ in range(60):
        unit = F.normalize(embeddings.detach())
        spreads.append((unit @ unit.T)[same].std().item())
        optimizer.zero_grad()
        IntraPairVarianceLoss()(embeddings, labels).backward()
        optimizer.step()
    assert spreads[-1] < 0.9 * spreads[0]
