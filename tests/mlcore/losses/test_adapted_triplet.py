"""Adapted triplet: the triplet loss, and the shift of the mined samples' class means, one class at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import AdaptedTripletLoss, TripletMarginLoss
from mlcore.miners import BatchHardMiner, MultiSimilarityMiner
from mlcore.reducers import DoNothingReducer
from mlcore.tuples import Pairs, Triplets, to_triplets


def shifts_by_hand(embeddings, labels, chosen):
    unit, shifts = F.normalize(embeddings), []
    for label in labels.unique().tolist():
        mine = [unit[at] for at in chosen if labels[at] == label]
        if mine:
            everyone = unit[labels == label].mean(dim=0)
            shifts.append((torch.stack(mine).mean(dim=0) - everyone).square().sum().item())
    return shifts


def sample(seed, count=12, classes=4):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize("miner", [BatchHardMiner(), MultiSimilarityMiner()])
@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_is_the_triplet_loss_plus_the_shift_of_the_class_means(miner, weight):
    embeddings, labels = sample(0)
    tuples = miner(embeddings, labels)
    chosen = torch.cat(to_triplets(tuples)).tolist()
    shifts = shifts_by_hand(embeddings, labels, chosen)
    triplets = TripletMarginLoss(margin=0.3)(embeddings, labels, tuples).item()
    value = AdaptedTripletLoss(margin=0.3, adaptation_weight=weight)(embeddings, labels, tuples)
    assert value.item() == pytest.approx(triplets + weight * sum(shifts) / len(shifts))


def test_with_a_reference_the_chosen_positives_and_negatives_count():
    embeddings, labels = sample(1)
    reference, ref_labels = sample(2, 20)
    tuples = BatchHardMiner()(embeddings, labels, reference, ref_labels)
    loss = AdaptedTripletLoss(reducer=DoNothingReducer())
    parts = loss(embeddings, labels, tuples, reference, ref_labels)
    expected = shifts_by_hand(reference, ref_labels, [*tuples.positives.tolist(), *tuples.negatives.tolist()])
    assert parts["adaptation_loss"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("options", [{}, {"swap": True}, {"smooth_loss": True}])
def test_without_a_miner_it_is_the_triplet_loss(options):
    embeddings, labels = sample(3)
    torch.testing.assert_close(
        AdaptedTripletLoss(**options)(embeddings, labels), TripletMarginLoss(**options)(embeddings, labels)
    )


def test_gradient_is_that_of_the_value_with_mined_triplets():
    embeddings, labels = sample(4, 8, 2)
    tuples = BatchHardMiner()(embeddings, labels)
    loss = AdaptedTripletLoss(margin=0.3)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, tuples), embeddings.requires_grad_())


def test_labels_are_needed_beside_tuples():
    tuples = Triplets(*(torch.tensor([column]) for column in range(3)))
    with pytest.raises(ValueError, match="labels must be given, also with an indices_tuple"):
        AdaptedTripletLoss()(sample(5)[0], None, tuples)


@pytest.mark.parametrize("separate", [False, True])
def test_pairs_count_as_the_triplets_that_they_make(separate):
    torch.manual_seed(3)
    embeddings, labels = torch.randn(10, 4), torch.randint(3, (10,))
    reference = (torch.randn(7, 4), torch.randint(3, (7,))) if separate else (None, None)
    columns = 7 if separate else 10
    pairs = Pairs(*(torch.randint(high, (count,)) for high, count in ((10, 9), (columns, 9), (10, 12), (columns, 12))))
    loss = AdaptedTripletLoss(reducer=DoNothingReducer())
    by_pairs = loss(embeddings, labels, pairs, *reference)["adaptation_loss"]
    by_triplets = loss(embeddings, labels, to_triplets(pairs), *reference)["adaptation_loss"]
    torch.testing.assert_close(by_pairs, by_triplets)
