"""MagFace against its paper, sample by sample."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import ArcFaceLoss, MagFaceLoss


def by_hand(embedding, label, proxies, scale, l_a, u_a, l_m, u_m, lambda_g):
    """Equations 2 and 3 of arXiv:2103.06627."""
    a = min(max(embedding.norm().item(), l_a), u_a)
    margin = l_m + (u_m - l_m) * (a - l_a) / (u_a - l_a)
    angles = [math.acos(F.cosine_similarity(embedding, proxy, dim=0)) for proxy in proxies]
    logits = [scale * math.cos(angle + margin * (j == label)) for j, angle in enumerate(angles)]
    softmax = math.log(sum(math.exp(logit - logits[label]) for logit in logits))
    return softmax + lambda_g * (1 / a + a / u_a**2)


@pytest.mark.parametrize("values", [(0.5, 1.2, 0.2, 0.6, 3.0), (10.0, 110.0, 0.45, 0.8, 35.0)])
def test_matches_the_paper(values):
    torch.manual_seed(0)
    l_a, u_a, l_m, u_m, lambda_g = values
    loss = MagFaceLoss(4, 3, l_a=l_a, u_a=u_a, l_m=l_m, u_m=u_m, lambda_g=lambda_g, scale=8.0).double()
    with torch.no_grad():
        loss.proxies.copy_(torch.rand(4, 3))
    embeddings, labels = torch.rand(8, 3, dtype=torch.float64), torch.arange(8) % 4
    expected = [
        by_hand(row, label, loss.proxies.detach(), 8.0, *values)
        for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 8)


def test_short_embeddings_have_arcface_s_gradient_with_the_smallest_margin():
    torch.manual_seed(0)
    loss, arcface = MagFaceLoss(4, 3), ArcFaceLoss(4, 3, margin=0.45)
    arcface.proxies = loss.proxies
    grads = []
    for one in (loss, arcface):
        rows = torch.ones(4, 3).requires_grad_()
        one(rows, torch.arange(4)).backward()
        grads.append(rows.grad)
    torch.testing.assert_close(*grads)


def test_long_embeddings_feel_both_the_margin_and_the_length_term():
    loss = MagFaceLoss(4, 3, l_a=0.1, u_a=10.0).double()
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, torch.arange(6) % 4), rows)
