"""The manifold loss against a walk followed step by step, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import ManifoldLoss
from mlcore.reducers import DoNothingReducer
from mlcore.tuples import Triplets


def walked(nodes, alpha, steps=400):
    """Where walks end: each step goes on with probability alpha, so G = (1 - alpha) * sum of (alpha W)^t."""
    count = len(nodes)
    similarities = torch.zeros(count, count, dtype=torch.float64)
    for i in range(count):
        for j in range(count):
            if i != j:
                cosine = F.cosine_similarity(nodes[i], nodes[j], dim=0).item()
                similarities[i, j] = math.exp(max(cosine, 0.0) / 0.5)
    degrees = similarities.sum(dim=1)
    step = similarities / (degrees[:, None] * degrees).sqrt()
    now = (1 - alpha) * torch.eye(count, dtype=torch.float64)
    ends = torch.zeros_like(now)
    for _ in range(steps):
        ends += now
        now = alpha * now @ step
    return ends


def by_hand(embeddings, own, proxies, alpha, margin):
    """The two parts, one loss per sample each."""
    count = len(embeddings)
    ends = walked(torch.cat([embeddings, proxies]), alpha)
    parts = {"intrinsic_loss": [], "context_loss": []}
    for i, y in enumerate(own.tolist()):
        direct = [ends[i, count + k].item() for k in range(len(proxies))]
        context = [F.cosine_similarity(ends[i], ends[count + k], dim=0).item() for k in range(len(proxies))]
        for name, closeness in (("intrinsic_loss", direct), ("context_loss", context)):
            leads = [close - closeness[y] + margin for k, close in enumerate(closeness) if k != y]
            parts[name].append(math.log(1 + sum(math.exp(lead) for lead in leads if lead >= 0)))
    return parts


def sample(seed=0, count=9, classes=4):
    torch.manual_seed(seed)
    return torch.randn(count, 5, dtype=torch.float64), torch.arange(count) % classes


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("alpha", "margin"), [(0.8, 5e-4), (0.3, 0.05), (0.95, 0.2)])
def test_each_sample_s_loss_is_that_of_a_walk_followed_step_by_step(alpha, margin, seed):
    embeddings, labels = sample(seed)
    loss = ManifoldLoss(5, 4, alpha=alpha, margin=margin, reducer=DoNothingReducer()).double()
    expected = by_hand(embeddings, labels, loss.proxies.detach(), alpha, margin)
    for name, losses in loss(embeddings, labels).items():
        torch.testing.assert_close(losses, torch.tensor(expected[name], dtype=torch.float64))


@pytest.mark.parametrize("lambda_c", [0.0, 1.0, 2.5, None])
def test_matches_pytorch_metric_learning_given_the_proxies_of_the_samples(lambda_c):
    embeddings, labels = sample(2, 12)
    ours = ManifoldLoss(l=5, K=4, lambdaC=lambda_c)
    theirs = pml.ManifoldLoss(l=5, K=4, lambdaC=math.inf if lambda_c is None else lambda_c)
    theirs.proxies.data = ours.proxies.detach().clone()
    rows, their_rows = (embeddings.float().requires_grad_() for _ in range(2))
    value = ours(rows, labels)
    if lambda_c is None:  # theirs multiplies the context part by infinity
        expected = by_hand(embeddings, labels, ours.proxies.detach().double(), 0.8, 5e-4)["context_loss"]
        assert value.item() == pytest.approx(sum(expected) / 12, rel=1e-5)
        return
    expected = theirs(their_rows, indices_tuple=labels)
    torch.testing.assert_close(value, expected.squeeze())
    value.backward()
    expected.backward()
    torch.testing.assert_close(rows.grad, their_rows.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.proxies.grad, theirs.proxies.grad, rtol=1e-3, atol=1e-6)


def test_more_classes_than_proxies_share_them_evenly_and_the_partition_is_saved():
    embeddings, labels = sample(0, 20, classes=10)
    loss = ManifoldLoss(5, 4, num_classes=10, seed=1).double()
    counts = torch.bincount(loss.meta_classes, minlength=4)
    assert counts.tolist() == [3, 3, 2, 2]
    plain = ManifoldLoss(5, 4).double()
    plain.proxies = loss.proxies
    torch.testing.assert_close(loss(embeddings, labels), plain(embeddings, loss.meta_classes[labels]))
    other = ManifoldLoss(5, 4, num_classes=10, seed=2).double()
    assert other.meta_classes.tolist() != loss.meta_classes.tolist()
    other.load_state_dict(loss.state_dict())
    assert other(embeddings, labels).item() == loss(embeddings, labels).item()
    with pytest.raises(ValueError, match=r"\[0, 10\).*got 10"):
        loss(embeddings, labels + 1)


def test_where_there_are_fewer_classes_than_proxies_each_has_one():
    loss = ManifoldLoss(5, num_classes=3)
    assert loss.proxies.shape == (3, 5)
    assert loss.meta_classes is None


def test_a_sample_that_leans_to_its_own_proxy_loses_nothing():
    loss = ManifoldLoss(3, 3).double()
    with torch.no_grad():
        loss.proxies.copy_(torch.eye(3))
    embeddings = torch.eye(3, dtype=torch.float64).requires_grad_()
    loss(embeddings, torch.arange(3)).backward()
    assert loss(embeddings, torch.arange(3)).item() == 0.0
    assert embeddings.grad.abs().sum() == 0.0


def test_a_miner_weighs_the_samples():
    embeddings, labels = sample()
    loss = ManifoldLoss(5, 4, reducer=DoNothingReducer()).double()
    mined = Triplets(*(torch.tensor(column) for column in ([0, 0], [4, 8], [1, 1])))  # 0 and 1 twice, 4 and 8 once
    weights = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.5], dtype=torch.float64)
    plain, weighed = loss(embeddings, labels), loss(embeddings, labels, mined)
    for name, losses in plain.items():
        torch.testing.assert_close(weighed[name], weights * losses)


def test_two_names_of_one_argument_are_refused_together():
    with pytest.raises(TypeError, match="l is another name of embedding_size"):
        ManifoldLoss(l=5, embedding_size=5)
