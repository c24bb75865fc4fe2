"""SphereFace and large-margin softmax against their papers and pytorch-metric-learning, which has no lambda."""

from __future__ import annotations

import itertools
import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import LargeMarginSoftmaxLoss, SphereFaceLoss
from mlcore.losses.sphereface import multiple_angle

BARE = {"lambda_start": 0.0, "lambda_end": 0.0}


def psi(angle, m):
    """Equation 7 of arXiv:1704.08063."""
    k = min(int(m * angle / math.pi), m - 1)
    return (-1) ** k * math.cos(m * angle) - 2 * k


def by_hand(embedding, label, proxies, m, lam, keep_lengths):
    logits = []
    for j, proxy in enumerate(proxies):
        cosine = F.cosine_similarity(embedding, proxy, dim=0).item()
        value = (lam * cosine + psi(math.acos(cosine), m)) / (1 + lam) if j == label else cosine
        logits.append(value * embedding.norm().item() * (proxy.norm().item() if keep_lengths else 1.0))
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8])
def test_psi_is_the_paper_s_and_falls_all_the_way(m):
    angles = torch.linspace(0.0, math.pi, 200, dtype=torch.float64)
    found = multiple_angle(angles.cos(), m)
    expected = torch.tensor([psi(angle, m) for angle in angles.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    assert all(one > other for one, other in itertools.pairwise(found.tolist()))


@pytest.mark.parametrize("lam", [0.0, 5.0])
@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("kind", [SphereFaceLoss, LargeMarginSoftmaxLoss])
def test_matches_the_paper(kind, m, lam):
    torch.manual_seed(0)
    loss = kind(4, 3, margin=m, lambda_start=lam, lambda_end=lam).double()
    embeddings, labels = torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 4
    keep = kind is LargeMarginSoftmaxLoss
    expected = [
        by_hand(row, label, loss.proxies.detach(), m, lam, keep)
        for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 8)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # theirs hands tensors to scipy
@pytest.mark.parametrize("kind", [SphereFaceLoss, LargeMarginSoftmaxLoss])
@pytest.mark.parametrize("m", [2, 3, 4])
def test_matches_pytorch_metric_learning_without_lambda(kind, m):
    torch.manual_seed(1)
    embeddings, labels = torch.randn(30, 3), torch.arange(30) % 4
    ours, theirs = kind(4, 3, margin=m, scale=2.0, **BARE), getattr(pml, kind.__name__)(4, 3, margin=m, scale=2)
    theirs.W.data = ours.proxies.detach().T.clone()
    if kind is LargeMarginSoftmaxLoss:
        with torch.no_grad():
            ours.proxies.mul_(1.7)
        theirs.W.data.mul_(1.7)
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))
    torch.testing.assert_close(ours.get_logits(embeddings), theirs.get_logits(embeddings))


@pytest.mark.parametrize("kind", [SphereFaceLoss, LargeMarginSoftmaxLoss])
def test_lambda_falls_with_training_steps_and_is_saved(kind):
    embeddings, labels = torch.randn(6, 3), torch.arange(6) % 4
    loss = kind(4, 3, lambda_start=100.0, lambda_end=5.0, lambda_decay=1.0)
    for lam in (100.0, 50.0, 100.0 / 3):
        fixed = kind(4, 3, lambda_start=lam, lambda_end=lam)
        fixed.proxies = loss.proxies
        torch.testing.assert_close(loss(embeddings, labels), fixed(embeddings, labels))
    assert loss.state_dict()["steps"] == 3
    loss.eval()(embeddings, labels)
    assert loss.steps == 3
