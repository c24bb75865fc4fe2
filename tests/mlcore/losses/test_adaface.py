"""AdaFace against its paper, sample by sample and step by step."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import AdaFaceLoss


def by_hand(cosines, label, length, mean, spread, margin, h, scale):
    """Equations 14 to 18 of arXiv:2204.00964, with ArcFace's rule past a half turn and 1 before the proxy."""
    n = min(max(h * (min(length, 100.0) - mean) / (spread + 1e-3), -1.0), 1.0)
    angle, turn = math.acos(cosines[label]), -margin * n
    target = math.cos(max(angle + turn, 0.0))
    if angle + turn > math.pi:
        target = cosines[label] - turn * math.sin(turn)
    logits = [scale * c for c in cosines]
    logits[label] = scale * (target - margin * n - margin)
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


def test_matches_the_paper_over_training_steps():
    torch.manual_seed(0)
    loss, mean, spread = AdaFaceLoss(5, 3, scale=8.0, t_alpha=0.2, h=1.0).double(), 0.0, 0.0
    for step in range(4):
        labels = torch.randint(5, (12,))
        embeddings = loss.proxies.detach()[labels] + torch.randn(12, 3, dtype=torch.float64)
        embeddings = embeddings * (1 + 5 * torch.rand(12, 1, dtype=torch.float64))
        cosines = F.cosine_similarity(embeddings[:, None], loss.proxies.detach()[None], dim=2)
        lengths, share = embeddings.norm(dim=1), 1.0 if step == 0 else 0.2
        mean = (1 - share) * mean + share * lengths.mean().item()
        spread = (1 - share) * spread + share * lengths.std().item()
        expected = [
            by_hand(row.tolist(), label, length, mean, spread, 0.4, 1.0, 8.0)
            for row, label, length in zip(cosines, labels.tolist(), lengths.tolist(), strict=True)
        ]
        assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 12, rel=1e-6)


def test_statistics_are_saved_stand_still_in_evaluation_and_survive_a_batch_of_one():
    loss = AdaFaceLoss(5, 3)
    loss(torch.randn(8, 3), torch.arange(8) % 5)
    before = {name: kept.clone() for name, kept in loss.state_dict().items()}
    loss.eval()(torch.randn(8, 3), torch.arange(8) % 5)
    assert all(torch.equal(before[name], kept) for name, kept in loss.state_dict().items())
    loss.train()(torch.randn(1, 3), torch.tensor([0]))
    assert torch.isfinite(loss.spread)
    assert loss.spread == before["spread"]


def test_lengths_pass_no_gradient():
    loss = AdaFaceLoss(5, 3)
    embeddings = torch.randn(8, 3, requires_grad=True)
    loss(embeddings, torch.arange(8) % 5).backward()
    along = (embeddings.grad * F.normalize(embeddings.detach())).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros(8), atol=1e-5, rtol=0)
