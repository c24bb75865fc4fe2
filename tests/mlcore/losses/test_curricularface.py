"""CurricularFace against its paper, sample by sample and step by step."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import CurricularFaceLoss


def by_hand(cosines, label, margin, scale, t):
    """Equations 6 to 8 of arXiv:2004.00288, with ArcFace's rule past a half turn."""
    angle = math.acos(cosines[label])
    limit = math.cos(angle + margin)
    target = limit if angle + margin <= math.pi else cosines[label] - margin * math.sin(margin)
    logits = [scale * (c if c <= limit else c * (t + c)) for c in cosines]
    logits[label] = scale * target
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


def test_matches_the_paper_over_training_steps():
    torch.manual_seed(0)
    loss, t = CurricularFaceLoss(5, 3, scale=8.0, momentum=0.9).double(), 0.0
    for _ in range(4):
        labels = torch.randint(5, (12,))
        embeddings = loss.proxies.detach()[labels] + torch.randn(12, 3, dtype=torch.float64)
        cosines = F.cosine_similarity(embeddings[:, None], loss.proxies.detach()[None], dim=2)
        t = 0.9 * t + 0.1 * cosines[torch.arange(12), labels].mean().item()
        expected = [
            by_hand(row.tolist(), label, 0.5, 8.0, t) for row, label in zip(cosines, labels.tolist(), strict=True)
        ]
        assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 12)
        assert loss.t.item() == pytest.approx(t)


def test_t_is_saved_and_stands_still_in_evaluation():
    loss = CurricularFaceLoss(5, 3)
    loss(loss.proxies.detach(), torch.arange(5))
    before = loss.state_dict()["t"].clone()
    assert before == pytest.approx(0.01)
    loss.eval()(torch.randn(5, 3), torch.arange(5))
    assert loss.t == before
