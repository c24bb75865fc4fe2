"""Sums of losses with weights and miners."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlcore.losses import ArcFaceLoss, ContrastiveLoss, MultipleLosses, SupConLoss, TripletMarginLoss
from mlcore.miners import BatchHardMiner
from mlcore.tuples import all_pairs


def batch():
    torch.manual_seed(0)
    return torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3


class NamedMiner(nn.Module):
    def forward(self, embeddings, labels, ref_emb=None, ref_labels=None):
        return BatchHardMiner()(embeddings, labels, ref_emb, ref_labels)


def test_a_list_is_added_up_with_weights_and_each_ones_miner():
    embeddings, labels = batch()
    supcon, triplet = SupConLoss(), TripletMarginLoss()
    both = MultipleLosses([supcon, triplet], [None, BatchHardMiner()], [0.5, 2.0])
    mined = BatchHardMiner()(embeddings, labels)
    expected = 0.5 * supcon(embeddings, labels) + 2.0 * triplet(embeddings, labels, mined)
    torch.testing.assert_close(both(embeddings, labels), expected)


def test_a_dict_is_the_same_by_name():
    embeddings, labels = batch()
    supcon, triplet = SupConLoss(), TripletMarginLoss()
    both = MultipleLosses({"a": supcon, "b": triplet}, {"b": NamedMiner()}, {"b": 2.0, "a": 0.5})
    mined = BatchHardMiner()(embeddings, labels)
    expected = 0.5 * supcon(embeddings, labels) + 2.0 * triplet(embeddings, labels, mined)
    torch.testing.assert_close(both(embeddings, labels), expected)
    assert any(isinstance(module, NamedMiner) for module in both.modules())


def test_without_weights_and_miners_all_get_the_tuples_and_the_reference():
    embeddings, labels = batch()
    reference = torch.randn(12, 4, dtype=torch.float64), torch.arange(12) % 3
    losses = [SupConLoss(), ContrastiveLoss()]
    pairs = all_pairs(labels, reference[1])
    for arguments in ((None, *reference), (pairs, *reference), (all_pairs(labels),)):
        expected = sum(loss(embeddings, labels, *arguments) for loss in losses)
        torch.testing.assert_close(MultipleLosses(losses)(embeddings, labels, *arguments), expected)


def test_proxies_are_trained_and_saved_with_it():
    both = MultipleLosses([ArcFaceLoss(3, 4), SupConLoss()]).double()
    both(*batch()).backward()
    assert [name for name, _ in both.named_parameters()] == ["losses.0.proxies"]
    assert all(parameter.grad.abs().sum() > 0 for parameter in both.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "must not be empty"),
        (([SupConLoss()], None, [1.0, 2.0]), "weights must be for"),
        (([SupConLoss()], [None, None]), "miners must be for"),
        (({"a": SupConLoss()}, None, {"b": 1.0}), "weights must be for"),
        (({"a": SupConLoss()}, [None]), "miners must be a dict"),
        (([SupConLoss()], {"a": None}), "miners must be a list"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultipleLosses(*arguments)


def test_tuples_from_outside_and_miners_of_its_own_are_too_many():
    embeddings, labels = batch()
    with pytest.raises(ValueError, match="takes no indices_tuple"):
        MultipleLosses([SupConLoss()], [BatchHardMiner()])(embeddings, labels, all_pairs(labels))
