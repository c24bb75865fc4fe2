"""The instance loss against its formula. pytorch-metric-learning's is another loss and no reference."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import InstanceLoss


def test_matches_the_formula():
    torch.manual_seed(0)
    loss = InstanceLoss(6, 4, gamma=8.0).double()
    embeddings, labels = torch.randn(8, 4, dtype=torch.float64), torch.randint(6, (8,))
    total = 0.0
    for row, label in zip(embeddings, labels.tolist(), strict=True):
        logits = [8.0 * F.cosine_similarity(row, proxy, dim=0).item() for proxy in loss.proxies.detach()]
        total += math.log(sum(math.exp(logit - logits[label]) for logit in logits))
    assert loss(embeddings, labels).item() == pytest.approx(total / 8)


def test_two_streams_through_the_same_proxies_are_the_mean_of_both():
    torch.manual_seed(0)
    loss, labels = InstanceLoss(6, 4), torch.arange(6)
    images, texts = torch.randn(6, 4), torch.randn(6, 4)
    joined = loss(torch.cat([images, texts]), torch.cat([labels, labels]))
    torch.testing.assert_close(joined, (loss(images, labels) + loss(texts, labels)) / 2)
