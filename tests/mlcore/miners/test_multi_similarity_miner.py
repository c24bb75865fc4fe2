"""Multi-similarity mining against a loop, and against pytorch-metric-learning."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.miners as pml
import torch
import torch.nn.functional as F

from mlcore.miners import MultiSimilarityMiner


def by_hand(embeddings, labels, epsilon):
    """Equations 9 and 10 of arXiv:1904.06627."""
    cosines = (F.normalize(embeddings) @ F.normalize(embeddings).T).tolist()
    positives, negatives = [], []
    for a, row in enumerate(cosines):
        mates = [j for j in range(len(row)) if labels[j] == labels[a] and j != a]
        strangers = [j for j in range(len(row)) if labels[j] != labels[a]]
        if mates and strangers:
            positives += [(a, j) for j in mates if row[j] - epsilon < max(row[n] for n in strangers)]
            negatives += [(a, j) for j in strangers if row[j] + epsilon > min(row[p] for p in mates)]
    return positives, negatives


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_keeps_the_pairs_that_are_out_of_order(seed, epsilon):
    torch.manual_seed(seed)
    labels = torch.randint(4, (16,))
    embeddings = F.one_hot(labels, 6).double() + 0.5 * torch.randn(16, 6, dtype=torch.float64)
    ours = [column.tolist() for column in MultiSimilarityMiner(epsilon=epsilon)(embeddings, labels)]
    expected = by_hand(embeddings, labels, epsilon)
    assert list(zip(*ours[:2], strict=True)) == expected[0]
    assert list(zip(*ours[2:], strict=True)) == expected[1]
    theirs = [column.tolist() for column in pml.MultiSimilarityMiner(epsilon=epsilon)(embeddings, labels)]
    assert sorted(zip(*theirs[:2], strict=True)) == expected[0]
    assert sorted(zip(*theirs[2:], strict=True)) == expected[1]


def test_a_sorted_batch_gives_nothing():
    labels = torch.arange(6) % 3
    pairs = MultiSimilarityMiner()(torch.eye(3)[labels], labels)
    assert [len(column) for column in pairs] == [0, 0, 0, 0]


@pytest.mark.parametrize("labels", [[0, 1, 2], [4, 4, 4]], ids=["no positives", "no negatives"])
def test_an_anchor_needs_both_kinds_to_give_any(labels):
    pairs = MultiSimilarityMiner()(torch.randn(3, 5), torch.tensor(labels))
    assert [len(column) for column in pairs] == [0, 0, 0, 0]
