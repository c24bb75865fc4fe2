"""Batch hard against a loop, and against pytorch-metric-learning."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.miners as pml
import torch
import torch.nn.functional as F

from mlcore.miners import BatchHardMiner


def by_hand(embeddings, labels, reference, ref_labels, own):
    unit, other = F.normalize(embeddings), F.normalize(reference)
    triplets = []
    for a, anchor in enumerate(unit):
        dists = [(anchor - row).norm().item() for row in other]
        mates = [j for j in range(len(other)) if ref_labels[j] == labels[a] and not (own and j == a)]
        strangers = [j for j in range(len(other)) if ref_labels[j] != labels[a]]
        if mates and strangers:
            triplets.append((a, max(mates, key=dists.__getitem__), min(strangers, key=dists.__getitem__)))
    return triplets


def sample(seed, count):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(5, (count,))


@pytest.mark.parametrize("seed", range(5))
def test_takes_the_farthest_positive_and_the_closest_negative(seed):
    embeddings, labels = sample(seed, 14)
    triplets = BatchHardMiner()(embeddings, labels)
    assert list(zip(*(column.tolist() for column in triplets), strict=True)) == by_hand(
        embeddings, labels, embeddings, labels, own=True
    )
    for ours, theirs in zip(triplets, pml.BatchHardMiner()(embeddings, labels), strict=True):
        assert torch.equal(ours, theirs)


def test_reference_items_at_the_anchors_own_position_may_be_positives():
    embeddings, labels = sample(0, 10)
    reference, ref_labels = sample(1, 12)
    triplets = BatchHardMiner()(embeddings, labels, reference, ref_labels)
    assert list(zip(*(column.tolist() for column in triplets), strict=True)) == by_hand(
        embeddings, labels, reference, ref_labels, own=False
    )
