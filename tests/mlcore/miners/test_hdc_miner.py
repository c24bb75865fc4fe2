"""Hard-aware mining against a sorted list, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.miners as pml
import torch

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.miners import HDCMiner
from mlcore.tuples import to_pairs


def sample(count=14):
    torch.manual_seed(0)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(3, (count,))


def sets_of(pairs):
    columns = [column.tolist() for column in pairs]
    return [sorted(zip(*columns[start : start + 2], strict=True)) for start in (0, 2)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("similarity", [False, True])
def test_keeps_the_hardest_share_of_each_kind(share, similarity):
    embeddings, labels = sample()
    # Both orders of a pair are equally hard; which of them comes last is open, so the reference is another set.
    reference, ref_labels = torch.randn(9, 4, dtype=torch.float64), torch.randint(3, (9,))
    ours = CosineSimilarity() if similarity else LpDistance()
    mat = (-1.0 if similarity else 1.0) * ours(embeddings, reference)
    cells = sorted((mat[i, j].item(), i, j) for i in range(14) for j in range(9))
    positive = [(i, j) for _, i, j in reversed(cells) if labels[i] == ref_labels[j]]
    negative = [(i, j) for _, i, j in cells if labels[i] != ref_labels[j]]
    expected = [sorted(cells[: math.ceil(share * len(cells))]) for cells in (positive, negative)]
    miner = HDCMiner(filter_percentage=share, distance=ours)
    assert sets_of(miner(embeddings, labels, reference, ref_labels)) == expected
    theirs = pml_distances.CosineSimilarity() if similarity else pml_distances.LpDistance()
    mined = pml.HDCMiner(filter_percentage=share, distance=theirs)(embeddings, labels, reference, ref_labels)
    assert sets_of(mined) == expected


def test_a_cascade_filters_what_the_stage_before_has_kept():
    embeddings, labels = sample(30)
    first = HDCMiner(filter_percentage=0.5)(embeddings, labels)
    second = HDCMiner(filter_percentage=0.25)(torch.randn(30, 6), labels, indices_tuple=first)
    for before, after in zip(sets_of(first), sets_of(second), strict=True):
        assert set(after) < set(before)
        assert len(after) == math.ceil(0.25 * len(before))


def test_triplets_are_filtered_as_pairs():
    embeddings, labels = sample()
    triplets = torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4, 5])
    kept = HDCMiner(filter_percentage=1.0)(embeddings, labels, indices_tuple=triplets)
    assert sets_of(kept) == sets_of(to_pairs(triplets))
