"""Uniform histogram mining: as many from each bin as asked, and only what lies there."""

from __future__ import annotations

import pytest
import torch

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.miners import UniformHistogramMiner
from mlcore.tuples import all_pairs


def counts_by_bin(values, low, high, bins):
    """How many values lie in each of equal bins; the last one holds its upper end too."""
    counts = [0] * bins
    for value in values.tolist():
        counts[min(bins - 1, int(bins * (value - low) / (high - low)))] += 1
    return counts


@pytest.mark.parametrize("distance", [LpDistance(), CosineSimilarity()])
@pytest.mark.parametrize(("bins", "per_pos", "per_neg"), [(7, 5, 3), (1, 4, 4), (40, 2, 6)])
def test_every_filled_bin_gives_as_many_as_asked(distance, bins, per_pos, per_neg):
    torch.manual_seed(0)
    embeddings, labels = torch.randn(30, 4, dtype=torch.float64), torch.randint(3, (30,))
    miner = UniformHistogramMiner(num_bins=bins, pos_per_bin=per_pos, neg_per_bin=per_neg, distance=distance)
    mat, everything = distance(embeddings), all_pairs(labels)
    drawn = miner(embeddings, labels)
    for side, per_bin in ((slice(0, 2), per_pos), (slice(2, 4), per_neg)):
        there = mat[everything[side]]
        low, high = there.min().item(), there.max().item()
        expected = [per_bin * (count > 0) for count in counts_by_bin(there, low, high, bins)]
        assert counts_by_bin(mat[drawn[side]], low, high, bins) == expected


def test_pairs_of_one_bin_are_equally_likely():
    embeddings, labels = torch.eye(5), torch.tensor([0, 0, 0, 0, 1])
    drawn = UniformHistogramMiner(num_bins=1, pos_per_bin=1000)(embeddings, labels)
    cells = torch.bincount(5 * drawn.anchors + drawn.positives, minlength=25)
    assert (cells[cells > 0] > 40).all()
    assert (cells > 0).sum() == 12


def test_equal_distances_share_one_bin():
    drawn = UniformHistogramMiner()(torch.ones(6, 3), torch.arange(6) % 2)
    assert [len(column) for column in drawn] == [10] * 4
