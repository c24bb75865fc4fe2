"""P2SGrad against its paper, and pytorch-metric-learning, which also averages over the classes."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import P2SGradLoss


def sample():
    torch.manual_seed(0)
    return torch.randn(10, 4), torch.arange(10) % 5


def test_the_gradient_is_the_paper_s():
    """Equation 11 of arXiv:1905.02479: the sum over classes of (cos - [own]) times the cosine's gradient."""
    embeddings, labels = sample()
    loss, rows = P2SGradLoss(4, 5).double(), embeddings.double().requires_grad_()
    expected = torch.zeros(10, 4, dtype=torch.float64)
    for i, label in enumerate(labels.tolist()):
        for j, proxy in enumerate(loss.proxies.detach()):
            row = rows.detach()[i].clone().requires_grad_()
            cosine = F.cosine_similarity(row, proxy, dim=0)
            (slope,) = torch.autograd.grad(cosine, row)
            expected[i] += (cosine.item() - (j == label)) * slope
    loss(rows, labels).backward()
    torch.testing.assert_close(rows.grad, expected / 10)


def test_is_half_the_number_of_classes_times_pytorch_metric_learning():
    embeddings, labels = sample()
    ours, theirs = P2SGradLoss(4, 5), pml.P2SGradLoss(4, 5)
    with torch.no_grad():
        ours.proxies.copy_(theirs.weight.T)
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels) * 5 / 2)


def test_known_angles_give_the_known_number():
    loss = P2SGradLoss(2, 2)
    loss.load_state_dict({"proxies": torch.eye(2)})
    value = loss(torch.tensor([[math.cos(0.5), math.sin(0.5)]]), torch.tensor([0]))
    assert value.item() == pytest.approx(0.5 * ((math.cos(0.5) - 1) ** 2 + math.sin(0.5) ** 2))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_labels_and_smoothing_say_what_the_cosines_should_be(smoothing):
    embeddings, _ = sample()
    shares, weights = torch.rand(10, 5).softmax(dim=1), torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
    loss = P2SGradLoss(4, 5, label_smoothing=smoothing, class_weights=weights)
    cosines = F.normalize(embeddings) @ F.normalize(loss.proxies.detach()).T
    expected = 0.0
    for i in range(10):
        off = sum((cosines[i, j] - (1 - smoothing) * shares[i, j] - smoothing / 5) ** 2 for j in range(5)) / 2
        expected += off * sum(shares[i, j] * weights[j] for j in range(5)) / 10
    assert loss(embeddings, shares).item() == pytest.approx(float(expected), rel=1e-5)


def test_the_name_that_pytorch_metric_learning_has_for_its_size_is_taken():
    assert P2SGradLoss(descriptors_dim=4, num_classes=5).proxies.shape == (5, 4)
