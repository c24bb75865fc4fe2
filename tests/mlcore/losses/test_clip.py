"""CLIP against its paper, row by row and column by column, and against torch's own cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import ClipLoss, SupConLoss


def views(seed, count=9, dtype=torch.float64):
    torch.manual_seed(seed)
    one = torch.randn(count, 5, dtype=dtype)
    return one, one + torch.randn(count, 5, dtype=dtype)


def by_hand(one, other, temperature):
    """Figure 3 of arXiv:2103.00020."""
    total, count = 0.0, len(one)
    score = [[F.cosine_similarity(a, b, dim=0).item() / temperature for b in other] for a in one]
    for i in range(count):
        total += math.log(sum(math.exp(score[i][j] - score[i][i]) for j in range(count)))
        total += math.log(sum(math.exp(score[j][i] - score[i][i]) for j in range(count)))
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_matches_the_paper(temperature):
    one, other = views(0)
    loss = ClipLoss(temperature=temperature).double()
    assert loss(one, ref_emb=other).item() == pytest.approx(by_hand(one, other, temperature))


def test_is_the_mean_of_two_cross_entropies():
    one, other = views(1, 30, torch.float32)
    logits = F.normalize(one) @ F.normalize(other).T / 0.07
    numbers = torch.arange(30)
    expected = 0.5 * F.cross_entropy(logits, numbers) + 0.5 * F.cross_entropy(logits.T, numbers)
    torch.testing.assert_close(ClipLoss()(one, ref_emb=other).detach(), expected)


def test_order_of_the_labels_may_differ_between_the_views():
    one, other = views(2)
    order, loss = torch.randperm(9), ClipLoss().double()
    by_label = loss(one, torch.arange(9), ref_emb=other[order], ref_labels=order)
    torch.testing.assert_close(by_label, loss(one, ref_emb=other))


def test_with_labels_alone_it_is_supcon():
    one, labels = views(3)[0], torch.arange(9) % 3
    expected = SupConLoss(temperature=0.2)(one, labels)
    torch.testing.assert_close(ClipLoss(temperature=0.2).double()(one, labels).detach(), expected)


def test_the_temperature_is_learned_and_kept_with_the_loss():
    one, other = views(4)
    loss = ClipLoss().double()
    loss(one, ref_emb=other).backward()
    assert loss.logit_scale.grad.item() != 0.0
    assert list(loss.state_dict()) == ["logit_scale"]
    assert not ClipLoss(learn_temperature=False).logit_scale.requires_grad


def test_the_scale_is_held_at_100_in_training_and_can_come_down_again():
    one, other = views(5)
    loss = ClipLoss().double()
    with torch.no_grad():
        loss.logit_scale.fill_(9.0)
    loss.eval()
    loss(one, ref_emb=other)
    assert loss.logit_scale.item() == 9.0
    loss.train()
    loss(one, ref_emb=other).backward()
    assert loss.logit_scale.exp().item() == pytest.approx(100.0)
    assert loss.logit_scale.grad.item() > 0.0


def test_gradient_reaches_both_views_and_is_that_of_the_value():
    one, other = views(6, 5)
    loss = ClipLoss(temperature=0.5).double()
    rows = (one.requires_grad_(), other.detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: loss(a, ref_emb=b), rows)


def test_views_of_different_lengths_need_labels():
    one, other = views(7)
    with pytest.raises(ValueError, match="the other view of each row"):
        ClipLoss()(one, ref_emb=other[1:])
