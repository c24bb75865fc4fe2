"""VICReg against its terms in plain loops, and against pytorch-metric-learning."""

from __future__ import annotations

import math
import statistics

import pytest
import pytorch_metric_learning.losses as pml
import torch

from mlcore.losses import VICRegLoss, vicreg
from mlcore.miners import BatchHardMiner
from mlcore.reducers import DoNothingReducer


def terms(one, other, pairs, eps=1e-4):
    """Equations 1 to 5 of arXiv:2105.04906 with the authors' averages: invariance, variance, covariance."""
    size = one.shape[1]
    gaps = [((one[a] - other[p]) ** 2).mean().item() for a, p in pairs]
    variance = covariance = 0.0
    for view in (one.T.tolist(), other.T.tolist()):
        variance += sum(max(0.0, 1 - math.sqrt(statistics.variance(column) + eps)) for column in view) / size / 2
        for i in range(size):
            for j in range(size):
                if i != j:
                    covariance += statistics.covariance(view[i], view[j]) ** 2 / size
    return sum(gaps) / len(gaps), variance, covariance


def views(seed, count=10, size=5, dtype=torch.float64):
    torch.manual_seed(seed)
    one = torch.randn(count, size, dtype=dtype)
    return 0.8 * one, 0.8 * one + 0.3 * torch.randn(count, size, dtype=dtype)


@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_paper_row_by_row(seed):
    one, other = views(seed)
    invariance, variance, covariance = terms(one, other, [(i, i) for i in range(len(one))])
    expected = 25 * invariance + 25 * variance + covariance
    assert VICRegLoss()(one, ref_emb=other).item() == pytest.approx(expected)


def test_without_a_second_view_class_mates_belong_together():
    one, labels = views(2)[0], torch.arange(10) % 3
    pairs = [(a, p) for a in range(10) for p in range(10) if a != p and labels[a] == labels[p]]
    invariance, variance, covariance = terms(one, one, pairs)
    loss = VICRegLoss(invariance_lambda=3.0, variance_mu=2.0, covariance_v=0.5)
    assert loss(one, labels).item() == pytest.approx(3 * invariance + 2 * variance + 0.5 * covariance)


def test_tuples_name_the_pairs():
    one, labels = views(3)[0], torch.arange(10) % 3
    mined = BatchHardMiner()(one, labels)
    invariance, variance, covariance = terms(one, one, list(zip(mined.anchors, mined.positives, strict=True)))
    assert VICRegLoss()(one, labels, mined).item() == pytest.approx(25 * invariance + 25 * variance + covariance)


@pytest.mark.parametrize("knobs", [{}, {"invariance_lambda": 2, "variance_mu": 9, "covariance_v": 4, "eps": 0.01}])
def test_matches_pytorch_metric_learning_in_value_and_gradient(knobs):
    one, other = views(4, 40)
    ours, theirs = one.clone().requires_grad_(), one.clone().requires_grad_()
    value, expected = VICRegLoss(**knobs)(ours, ref_emb=other), pml.VICRegLoss(**knobs)(theirs, ref_emb=other)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_sub_losses_have_the_names_of_pytorch_metric_learning():
    one, other = views(5)
    parts = VICRegLoss(reducer=DoNothingReducer())(one, ref_emb=other)
    assert list(parts) == pml.VICRegLoss().sub_loss_names()


def test_many_pairs_are_taken_from_a_matrix_product_with_the_same_result(monkeypatch):
    one, labels = views(9, 30)[0], torch.arange(30) % 3
    found = []
    for few in (0, 4, 100):
        monkeypatch.setattr(vicreg, "FEW", few)
        leaf = one.clone().requires_grad_()
        value = VICRegLoss()(leaf, labels)
        value.backward()
        found.append((value.detach(), leaf.grad))
    for value, gradient in found[1:]:
        torch.testing.assert_close(value, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])


@pytest.mark.parametrize("few", [0, 4])
def test_views_that_nearly_coincide_far_from_zero_keep_their_gradient(few, monkeypatch):
    torch.manual_seed(6)
    one = (100.0 + torch.randn(8, 4)).requires_grad_()
    other = one.detach() + 1e-2 * torch.randn(8, 4)
    monkeypatch.setattr(vicreg, "FEW", few)
    VICRegLoss(variance_mu=0.0, covariance_v=0.0)(one, ref_emb=other).backward()
    torch.testing.assert_close(one.grad, 25 * 2 * (one - other).detach() / 32, rtol=1e-2, atol=1e-4)


def test_gradient_is_that_of_the_value_with_two_views():
    one, other = views(7, 6, 3)
    loss = VICRegLoss()
    rows = (one.requires_grad_(), other.detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: loss(a, ref_emb=b), rows)


def test_views_of_different_lengths_need_labels():
    one, other = views(8)
    with pytest.raises(ValueError, match="the other view of each row"):
        VICRegLoss()(one, ref_emb=other[1:])
    with pytest.raises(ValueError, match="labels must be given"):
        VICRegLoss()(one)
