"""Pairs and triplets against double and triple loops."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as theirs

from mlcore.tuples import (
    Pairs,
    Triplets,
    all_pairs,
    all_triplets,
    as_tuples,
    label_masks,
    sample_weights,
    to_pairs,
    to_triplets,
    tuple_masks,
)

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
REF_LABELS = torch.tensor([1, 0, 5, 0])


def rows(*columns):
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("ref_labels", [None, REF_LABELS], ids=["own batch", "reference"])
def test_all_pairs_are_those_of_a_double_loop(ref_labels):
    others = LABELS if ref_labels is None else ref_labels
    cells = [(i, j) for i in range(len(LABELS)) for j in range(len(others)) if not (ref_labels is None and i == j)]
    pairs = all_pairs(LABELS, ref_labels)
    assert rows(pairs.anchors, pairs.positives) == [(i, j) for i, j in cells if LABELS[i] == others[j]]
    assert rows(pairs.anchors_of_negatives, pairs.negatives) == [(i, j) for i, j in cells if LABELS[i] != others[j]]


@pytest.mark.parametrize("ref_labels", [None, REF_LABELS], ids=["own batch", "reference"])
def test_all_triplets_are_those_of_a_triple_loop_in_its_order(ref_labels):
    others = LABELS if ref_labels is None else ref_labels
    expected = [
        (a, p, n)
        for a in range(len(LABELS))
        for p in range(len(others))
        for n in range(len(others))
        if not (ref_labels is None and a == p) and LABELS[a] == others[p] and LABELS[a] != others[n]
    ]
    assert list(zip(*(column.tolist() for column in all_triplets(LABELS, ref_labels)), strict=True)) == expected


def test_the_same_labels_as_a_reference_keep_the_diagonal():
    same, _ = label_masks(LABELS, LABELS)
    assert same.diagonal().all()


def test_pairs_join_into_triplets_on_their_anchor_with_repeats():
    pairs = Pairs(*(torch.tensor(column) for column in ([3, 1, 1], [4, 2, 2], [1, 0, 1, 3], [7, 8, 9, 7])))
    expected = [(1, 2, 7), (1, 2, 7), (1, 2, 9), (1, 2, 9), (3, 4, 7)]
    assert rows(*to_triplets(pairs)) == expected
    assert rows(*theirs.convert_to_triplets(tuple(pairs), LABELS)) == expected


def test_pairs_that_share_no_anchor_give_no_triplets():
    nothing = torch.empty(0, dtype=torch.long)
    apart = Pairs(torch.tensor([0]), torch.tensor([2]), torch.tensor([9]), torch.tensor([1]))
    for pairs in (apart, Pairs(nothing, nothing, nothing, nothing), all_pairs(torch.arange(3))):
        triplets = to_triplets(pairs)
        assert [len(column) for column in triplets] == [0, 0, 0]
        assert all(column.dtype == torch.long for column in triplets)


def test_triplets_become_a_positive_and_a_negative_pair_each():
    triplets = Triplets(torch.tensor([0, 0]), torch.tensor([2, 2]), torch.tensor([1, 3]))
    pairs = to_pairs(triplets)
    assert rows(pairs.anchors, pairs.positives) == [(0, 2), (0, 2)]
    assert rows(pairs.anchors_of_negatives, pairs.negatives) == [(0, 1), (0, 3)]


def test_masks_hold_the_pairs_of_the_tuples():
    positive, negative = tuple_masks(all_triplets(LABELS, REF_LABELS), (6, 4))
    same, different = label_masks(LABELS, REF_LABELS)
    together = same.any(dim=1, keepdim=True) & different.any(dim=1, keepdim=True)
    assert torch.equal(positive, same & together)
    assert torch.equal(negative, different & together)


def test_weights_are_counts_over_the_largest_count_as_theirs():
    triplets = Triplets(torch.tensor([0, 0, 4]), torch.tensor([2, 5, 1]), torch.tensor([1, 3, 0]))
    weights = sample_weights(triplets, len(LABELS), torch.zeros(1, dtype=torch.float64))
    assert weights.tolist() == pytest.approx([1.0, 2 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    torch.testing.assert_close(weights, theirs.convert_to_weights(tuple(triplets), LABELS, torch.float64))


def test_weights_are_one_without_tuples_and_zero_for_empty_ones():
    nothing = torch.empty(0, dtype=torch.long)
    assert sample_weights(None, 3, torch.zeros(1)).tolist() == [1.0, 1.0, 1.0]
    assert sample_weights(Triplets(nothing, nothing, nothing), 3, torch.zeros(1)).tolist() == [0.0, 0.0, 0.0]


def test_plain_tuples_get_their_names():
    three, two = torch.arange(3), torch.arange(2)
    assert isinstance(as_tuples((three, three, three)), Triplets)
    assert isinstance(as_tuples((three, three, two, two)), Pairs)


@pytest.mark.parametrize("lengths", [(3, 3), (3, 3, 2), (3, 2, 2, 2), (1, 1, 1, 1, 1)])
def test_tuples_of_wrong_lengths_are_refused(lengths):
    with pytest.raises(ValueError, match="got lengths"):
        as_tuples(tuple(torch.arange(length) for length in lengths))


def test_with_a_reference_only_anchors_weigh_samples():
    triplets = Triplets(*(torch.tensor(column) for column in ([0, 0, 2], [1, 5, 1], [3, 3, 3])))
    weights = sample_weights(triplets, 4, torch.zeros(1), anchors_only=True)
    assert weights.tolist() == [1.0, 0.0, 0.5, 0.0]
    pairs = Pairs(*(torch.tensor(column) for column in ([0, 1], [7, 8], [1, 1], [9, 9])))
    assert sample_weights(pairs, 2, torch.zeros(1), anchors_only=True).tolist() == [pytest.approx(1 / 3), 1.0]
