"""AdaCos against its paper, step by step."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import AdaCosLoss


def scale_by_hand(cosines, labels, before):
    """Equations 13 to 15 of arXiv:1905.00292."""
    count = len(labels)
    total = sum(
        math.exp(before * cosines[i, j].item()) for i in range(count) for j in range(cosines.shape[1]) if j != labels[i]
    )
    angles = sorted(math.acos(cosines[i, labels[i]].item()) for i in range(count))
    median = angles[(count - 1) // 2]
    return math.log(total / count) / math.cos(min(math.pi / 4, median))


@pytest.mark.parametrize("near", [0.1, 2.0])
def test_the_scale_is_the_paper_s_and_is_used_in_the_same_step(near):
    torch.manual_seed(0)
    loss, scale = AdaCosLoss(20, 4).double(), math.sqrt(2) * math.log(19)
    for _ in range(3):
        labels = torch.randint(20, (9,))
        embeddings = loss.proxies.detach()[labels] + near * torch.randn(9, 4, dtype=torch.float64)
        cosines = F.cosine_similarity(embeddings[:, None], loss.proxies.detach()[None], dim=2)
        scale = scale_by_hand(cosines, labels.tolist(), scale)
        value = loss(embeddings, labels)
        assert loss.scale.item() == pytest.approx(scale, rel=1e-5)
        assert value.item() == pytest.approx(F.cross_entropy(scale * cosines, labels).item(), rel=1e-5)


def test_the_scale_is_saved_and_stands_still_in_evaluation():
    loss = AdaCosLoss(10, 4)
    loss(torch.randn(8, 4), torch.arange(8))
    before = loss.scale.clone()
    loss.eval()(torch.randn(8, 4), torch.arange(8))
    assert loss.scale == before
    assert loss.state_dict()["scale"] == before


@pytest.mark.parametrize("classes", [1, 2])
def test_the_scale_stays_positive_with_few_classes(classes):
    loss = AdaCosLoss(classes, 2)
    for _ in range(5):
        loss(-loss.proxies.detach(), torch.arange(classes))
        loss(loss.proxies.detach(), torch.arange(classes))
    assert torch.isfinite(loss.scale)
    assert loss.scale >= 1.0


def test_one_hot_shares_track_the_same_scale():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 4, dtype=torch.float64), torch.arange(8)
    hard, soft = AdaCosLoss(9, 4).double(), AdaCosLoss(9, 4).double()
    soft.proxies = hard.proxies
    hard(embeddings, labels)
    soft(embeddings, F.one_hot(labels, 9).double())
    assert soft.scale.item() == pytest.approx(hard.scale.item())
