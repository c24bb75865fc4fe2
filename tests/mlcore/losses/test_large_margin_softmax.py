"""Large-margin softmax: what it has beyond SphereFace (test_sphereface.py compares both with paper and library)."""

from __future__ import annotations

import torch

from mlcore.losses import LargeMarginSoftmaxLoss


def test_the_lengths_of_proxies_count():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 3), torch.arange(6) % 4
    loss = LargeMarginSoftmaxLoss(4, 3)
    before = loss(embeddings, labels).item()
    with torch.no_grad():
        loss.proxies[0].mul_(5.0)
    assert loss(embeddings, labels).item() != before


def test_equal_sub_centres_are_one_proxy():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 3), torch.arange(6) % 4
    one, many = LargeMarginSoftmaxLoss(4, 3), LargeMarginSoftmaxLoss(4, 3, sub_centers=3)
    with torch.no_grad():
        many.proxies.copy_(one.proxies[:, None].expand(4, 3, 3))
    torch.testing.assert_close(many(embeddings, labels), one(embeddings, labels))
