"""Distance-weighted mining: how often each negative is drawn, against the paper's density."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.miners as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.miners import DistanceWeightedMiner
from mlcore.tuples import all_pairs


def shares_by_hand(embeddings, labels, anchor, cutoff=0.5, beyond=1.4):
    """Section 4 of arXiv:1706.07567: the probability of each row as the anchor's negative."""
    columns = embeddings.shape[1]
    unit = F.normalize(embeddings.double())
    weights = []
    for row, other in enumerate(unit):
        d = (unit[anchor] - other).norm().item()
        if labels[row] == labels[anchor] or d >= beyond:
            weights.append(0.0)
            continue
        d = max(d, cutoff)
        weights.append(1.0 / (d ** (columns - 2) * (1.0 - d * d / 4.0) ** ((columns - 3) / 2)))
    return torch.tensor(weights) / sum(weights)


@pytest.mark.parametrize("columns", [3, 8, 24])
def test_negatives_come_as_often_as_the_density_says(columns):
    torch.manual_seed(columns)
    labels = torch.tensor([0] * 40 + [1] * 10)
    embeddings = torch.cat([torch.ones(40, columns), 1.0 + 1.2 * torch.randn(10, columns)])
    miner = DistanceWeightedMiner()
    drawn = torch.zeros(50)
    for _ in range(5):
        anchors, _, negatives = miner(embeddings, labels)
        drawn += torch.bincount(negatives[anchors < 40], minlength=50)
    expected = shares_by_hand(embeddings, labels, 0)
    assert drawn.sum() == 5 * 40 * 39
    torch.testing.assert_close((drawn / drawn.sum()).double(), expected.double(), rtol=0.0, atol=0.02)


def test_every_positive_pair_gets_one_negative_inside_the_cutoff():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(30, 6), torch.randint(5, (30,))
    dists = LpDistance()(embeddings)
    anchors, positives, negatives = DistanceWeightedMiner()(embeddings, labels)
    reachable = ((labels[:, None] != labels) & (dists < 1.4)).any(dim=1)
    pairs = all_pairs(labels)
    expected = [(a, p) for a, p in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True) if reachable[a]]
    assert list(zip(anchors.tolist(), positives.tolist(), strict=True)) == expected
    assert (dists[anchors, negatives] < 1.4).all()


def test_no_anchor_is_lost_in_many_dimensions():
    torch.manual_seed(0)
    labels = torch.arange(64) // 4
    embeddings = torch.randn(64, 512)
    embeddings[60:] += 2.0 * embeddings[:4]  # one anchor's negatives much closer than all others
    miner = DistanceWeightedMiner(nonzero_loss_cutoff=1.5)
    assert len(miner(embeddings, labels).anchors) == 64 * 3
    # pytorch-metric-learning compares the weights over the batch: those of the other anchors are 0 there.
    assert len(pml.DistanceWeightedMiner(nonzero_loss_cutoff=1.5)(embeddings, labels)[0]) < 64 * 3


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 0, 0, 1, 1]])
def test_opposite_and_identical_embeddings_are_no_trouble(labels):
    labels = torch.tensor(labels)
    same = DistanceWeightedMiner()(torch.ones(len(labels), 128), labels)
    assert len(same.anchors) == len(all_pairs(labels).anchors)
    opposite = F.one_hot(labels, 2).float() @ torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert len(DistanceWeightedMiner()(opposite, labels).anchors) == 0
    assert len(DistanceWeightedMiner(nonzero_loss_cutoff=2.0)(opposite, labels).anchors) == 0


def test_the_cosine_stands_for_the_same_sphere():
    embeddings, labels = torch.randn(20, 6), torch.arange(20) % 4
    left, right = (DistanceWeightedMiner(distance=d)(embeddings, labels) for d in (None, CosineSimilarity()))
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("distance", [LpDistance(p=1), LpDistance(normalize_embeddings=False)])
def test_any_other_geometry_is_refused(distance):
    with pytest.raises(ValueError, match="of normalised embeddings"):
        DistanceWeightedMiner(distance=distance)


def test_the_cutoff_counts_closer_negatives_as_that_far():
    torch.manual_seed(1)
    labels = torch.tensor([0] * 60 + [1, 2])
    embeddings = torch.cat([torch.tensor([[1.0, 0, 0]]).repeat(60, 1), torch.tensor([[1.0, 0.01, 0], [1.0, 0.4, 0]])])
    anchors, _, negatives = DistanceWeightedMiner()(embeddings, labels)
    share = (negatives[anchors < 60] == 60).float().mean().item()
    assert share == pytest.approx(0.5, abs=4.0 * math.sqrt(0.25 / 3540))
