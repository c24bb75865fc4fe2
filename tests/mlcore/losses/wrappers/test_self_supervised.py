"""Views of the same samples as positives of each other."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.losses as pml
import torch

from mlcore.losses import ArcFaceLoss, SelfSupervisedLoss, SupConLoss, TripletMarginLoss


def views(count):
    torch.manual_seed(0)
    return [torch.randn(7, 4, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("name", ["SupConLoss", "TripletMarginLoss"])
def test_matches_pytorch_metric_learning(name, symmetric):
    ours = {"SupConLoss": SupConLoss, "TripletMarginLoss": TripletMarginLoss}[name]()
    theirs = pml.SelfSupervisedLoss(getattr(pml, name)(), symmetric=symmetric)
    torch.testing.assert_close(SelfSupervisedLoss(ours, symmetric)(*views(2)), theirs(*views(2)))


def test_three_views_of_a_sample_are_three_class_mates():
    one, two, three = views(3)
    labels = torch.arange(7)
    joined, thrice = torch.cat([one, two, three]), torch.cat([labels] * 3)
    torch.testing.assert_close(SelfSupervisedLoss(SupConLoss())(one, two, three), SupConLoss()(joined, thrice))
    asked = SelfSupervisedLoss(SupConLoss(), symmetric=False)(one, two, three)
    torch.testing.assert_close(asked, SupConLoss()(one, labels, None, joined[7:], thrice[7:]))


def test_views_of_different_samples_and_losses_with_proxies_are_refused():
    one, two = views(2)
    with pytest.raises(ValueError, match="views must be of one shape"):
        SelfSupervisedLoss(SupConLoss())(one, two[1:])
    with pytest.raises(ValueError, match="proxies need class labels"):
        SelfSupervisedLoss(ArcFaceLoss(3, 4))
