"""SigLIP against its paper, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import SigLipLoss
from mlcore.miners import BatchHardMiner


def by_hand(one, other, belong, scale, bias):
    """Equation 1 of arXiv:2303.15343; `belong` (B, N) holds 1, -1, or 0 for a pair that is not asked about."""
    total = 0.0
    for i in range(len(one)):
        for j in range(len(other)):
            logit = scale * F.cosine_similarity(one[i], other[j], dim=0).item() + bias
            total += math.log1p(math.exp(-belong[i][j] * logit)) if belong[i][j] else 0.0
    return total / len(one)


def views(seed, count=8):
    torch.manual_seed(seed)
    one = torch.randn(count, 5, dtype=torch.float64)
    return one, one + torch.randn(count, 5, dtype=torch.float64)


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (3.0, 1.0)])
def test_matches_the_paper(scale, bias):
    one, other = views(0)
    belong = (2 * torch.eye(8) - 1).tolist()
    value = SigLipLoss(scale=scale, bias=bias).double()(one, ref_emb=other)
    assert value.item() == pytest.approx(by_hand(one, other, belong, scale, bias), rel=1e-6)


def test_with_labels_alone_class_mates_belong_together_and_no_row_is_asked_about_itself():
    one, labels = views(1)[0], torch.arange(8) % 3
    belong = (2 * (labels[:, None] == labels).long() - 1).fill_diagonal_(0).tolist()
    value = SigLipLoss(scale=5.0, bias=-2.0).double()(one, labels)
    assert value.item() == pytest.approx(by_hand(one, one, belong, 5.0, -2.0), rel=1e-6)


def test_only_the_pairs_of_a_tuple_are_asked_about():
    one, labels = views(2)[0], torch.arange(8) % 3
    mined = BatchHardMiner()(one, labels)
    belong = [[0] * 8 for _ in range(8)]
    for a, p, n in zip(*(side.tolist() for side in mined), strict=True):
        belong[a][p], belong[a][n] = 1, -1
    value = SigLipLoss().double()(one, labels, mined)
    assert value.item() == pytest.approx(by_hand(one, one, belong, 10.0, -10.0), rel=1e-6)


def test_scale_and_offset_are_learned_and_kept_with_the_loss():
    one, other = views(3)
    loss = SigLipLoss().double()
    loss(one, ref_emb=other).backward()
    assert loss.logit_scale.grad.item() != 0.0
    assert loss.logit_bias.grad.item() != 0.0
    assert list(loss.state_dict()) == ["logit_scale", "logit_bias"]


def test_gradient_reaches_both_views_and_is_that_of_the_value():
    one, other = views(4, 5)
    loss = SigLipLoss().double()
    rows = (one.requires_grad_(), other.detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: loss(a, ref_emb=b), rows)
