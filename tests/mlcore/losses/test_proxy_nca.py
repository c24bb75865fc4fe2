"""ProxyNCA in both forms and ProxyNCA++ against their papers, and pytorch-metric-learning (positive kept in)."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.losses import ProxyNCALoss, ProxyNCAPlusPlusLoss


def by_hand(embedding, label, proxies, sigma, excluded):
    """Equation 4 of arXiv:1703.07464; with the positive in the sum, equation 6 of arXiv:2004.01113."""
    unit = F.normalize(embedding, dim=0)
    squares = [(unit - F.normalize(proxy, dim=0)).square().sum().item() for proxy in proxies]
    below = sum(math.exp(-sigma * square) for j, square in enumerate(squares) if j != label or not excluded)
    return sigma * squares[label] + math.log(below)


def sample(seed=0):
    torch.manual_seed(seed)
    return torch.randn(10, 4, dtype=torch.float64), torch.arange(10) % 5


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("sigma", [1.0, 9.0])
def test_matches_the_paper(sigma, excluded):
    embeddings, labels = sample()
    loss = ProxyNCALoss(5, 4, softmax_scale=sigma, exclude_positive=excluded).double()
    expected = [
        by_hand(row, label, loss.proxies.detach(), sigma, excluded)
        for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 10)


@pytest.mark.parametrize("temperature", [1.0 / 9.0, 0.5])
def test_plus_plus_matches_its_paper(temperature):
    embeddings, labels = sample()
    loss = ProxyNCAPlusPlusLoss(5, 4, temperature=temperature).double()
    expected = [
        by_hand(row, label, loss.proxies.detach(), 1.0 / temperature, False)
        for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 10)


def test_plus_plus_starts_with_proxies_at_right_angles():
    unit = F.normalize(ProxyNCAPlusPlusLoss(3, 8).proxies.detach())
    torch.testing.assert_close(unit @ unit.T, torch.eye(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("distance", "theirs"),
    [
        (None, None),
        (CosineSimilarity(), pml.ntxent_loss.CosineSimilarity()),
        (LpDistance(), pml.ProxyNCALoss(1, 1).distance),
    ],
    ids=["default", "cosine", "unsquared"],
)
def test_matches_pytorch_metric_learning(distance, theirs):
    embeddings, labels = sample(1)
    if isinstance(distance, LpDistance):
        theirs = type(theirs)(power=1)
    ours, reference = (
        ProxyNCALoss(5, 4, softmax_scale=3.0, distance=distance).double(),
        pml.ProxyNCALoss(5, 4, softmax_scale=3.0, distance=theirs),
    )
    reference.proxies.data = ours.proxies.detach().clone()
    torch.testing.assert_close(ours(embeddings, labels), reference(embeddings, labels))


def test_without_the_positive_the_loss_goes_below_zero_and_still_pulls():
    loss = ProxyNCALoss(3, 4, softmax_scale=9.0, exclude_positive=True)
    embeddings = (loss.proxies.detach() + 0.1 * torch.randn(3, 4)).requires_grad_()
    value = loss(embeddings, torch.arange(3))
    value.backward()
    assert value < 0
    assert embeddings.grad.abs().sum() > 0


def test_a_positive_that_dominates_does_not_drown_the_negatives():
    loss = ProxyNCALoss(2, 2, softmax_scale=128.0, exclude_positive=True)
    loss.load_state_dict({"proxies": torch.tensor([[1.0, 0.0], [-1.0, 0.0]])})
    assert loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).item() == pytest.approx(-128.0 * 4.0)
    soft = loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    assert soft.item() == pytest.approx(-128.0 * 4.0)


@pytest.mark.parametrize("excluded", [False, True])
def test_soft_labels_mix_the_losses_of_their_classes(excluded):
    embeddings, _ = sample()
    loss = ProxyNCALoss(5, 4, softmax_scale=3.0, exclude_positive=excluded).double()
    shares = torch.zeros(10, 5, dtype=torch.float64)
    shares[:, 0], shares[:, 2] = 0.3, 0.7
    by_class = [loss(embeddings, torch.full((10,), label)) for label in (0, 2)]
    torch.testing.assert_close(loss(embeddings, shares), 0.3 * by_class[0] + 0.7 * by_class[1])


def test_one_class_alone_has_nothing_to_lose():
    loss = ProxyNCALoss(1, 4, exclude_positive=True)
    assert loss(torch.randn(3, 4), torch.zeros(3, dtype=torch.long)).item() == 0.0
