"""SoftTriple against its paper, one sample at a time, and against pytorch-metric-learning (proxies laid flat)."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import SoftTripleLoss, soft_triple
from mlcore.miners import BatchHardMiner


def by_hand(embedding, label, proxies, la, gamma, delta):
    """Equations 6 to 8 of arXiv:1909.05235."""
    logits = []
    for j, centers in enumerate(proxies):
        cosines = [F.cosine_similarity(embedding, center, dim=0).item() for center in centers]
        total = sum(math.exp(c / gamma) for c in cosines)
        similarity = sum(math.exp(c / gamma) / total * c for c in cosines)
        logits.append(la * (similarity - delta * (j == label)))
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


@pytest.mark.parametrize(("la", "gamma", "delta"), [(20.0, 0.1, 0.01), (5.0, 0.5, 0.3)])
def test_matches_the_paper(la, gamma, delta):
    torch.manual_seed(0)
    loss = SoftTripleLoss(5, 4, centers_per_class=3, la=la, gamma=gamma, margin=delta).double()
    embeddings, labels = torch.randn(10, 4, dtype=torch.float64), torch.arange(10) % 5
    expected = [
        by_hand(row, label, loss.proxies.detach(), la, gamma, delta)
        for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 10)


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    torch.manual_seed(1)
    embeddings, labels = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 5
    ours, theirs = SoftTripleLoss(5, 4).double(), pml.SoftTripleLoss(5, 4)
    theirs.fc.data = ours.proxies.detach().flatten(0, 1).T.clone()
    tuples = BatchHardMiner()(embeddings, labels) if mined else None
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))
    torch.testing.assert_close(ours.get_logits(embeddings) / 20.0, theirs.get_logits(embeddings))  # theirs: no lambda


@pytest.mark.parametrize("block", [1, 10_000])
def test_gradients_are_those_of_the_value_in_blocks_of_any_size(block, monkeypatch):
    monkeypatch.setattr(soft_triple, "BLOCK", block)
    torch.manual_seed(0)
    loss = SoftTripleLoss(4, 3, centers_per_class=2, tau=0.2).double()
    embeddings, labels = torch.randn(6, 3, dtype=torch.float64, requires_grad=True), torch.arange(6) % 4

    def value(rows, proxies):
        return torch.func.functional_call(loss, {"proxies": proxies}, (rows, labels))

    assert torch.autograd.gradcheck(value, (embeddings, loss.proxies.detach().clone().requires_grad_()))


def test_tau_adds_the_paper_s_mean_distance_within_classes():
    torch.manual_seed(0)
    bare, drawn = (SoftTripleLoss(3, 4, centers_per_class=4, tau=tau).double() for tau in (0.0, 0.2))
    drawn.proxies = bare.proxies
    embeddings, labels = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    unit, total = F.normalize(bare.proxies.detach(), dim=-1), 0.0
    for centers in unit:
        for t in range(4):
            total += sum(math.sqrt(2 + 1e-5 - 2 * float(centers[t] @ centers[s])) for s in range(t + 1, 4))
    added = (drawn(embeddings, labels) - bare(embeddings, labels)).item()
    assert added == pytest.approx(0.2 * total / (3 * 4 * 3))


def test_an_assignment_as_sharp_as_can_be_is_the_nearest_proxy():
    torch.manual_seed(0)
    loss = SoftTripleLoss(3, 4, gamma=0.001, la=1.0)
    embeddings = torch.randn(6, 4)
    cosines = torch.einsum("bd,ckd->bck", F.normalize(embeddings), F.normalize(loss.proxies.detach(), dim=-1))
    torch.testing.assert_close(loss.get_logits(embeddings), cosines.amax(dim=2), atol=1e-3, rtol=0)
