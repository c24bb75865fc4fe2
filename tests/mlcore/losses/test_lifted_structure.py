"""Lifted structure and its generalized form against loops, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity
from mlcore.losses import GeneralizedLiftedStructureLoss, LiftedStructureLoss
from mlcore.miners import BatchHardMiner, MultiSimilarityMiner

CLASSES = [(LiftedStructureLoss, pml.LiftedStructureLoss)]
CLASSES += [(GeneralizedLiftedStructureLoss, pml.GeneralizedLiftedStructureLoss)]


def lifted_by_hand(left, left_labels, right, right_labels, own, neg_margin, pos_margin):
    """Per positive pair, the negatives of either end; halved and squared, mean over the pairs."""
    losses = []
    for i, a in enumerate(left):
        for j, p in enumerate(right):
            if (own and i == j) or left_labels[i] != right_labels[j]:
                continue
            total = sum(
                math.exp(neg_margin - math.dist(a, n))
                for n, label in zip(right, right_labels, strict=True)
                if label != left_labels[i]
            )
            total += sum(
                math.exp(neg_margin - math.dist(p, n))
                for n, label in zip(left, left_labels, strict=True)
                if label != right_labels[j]
            )
            losses.append(0.5 * max(0.0, math.log(total) + math.dist(a, p) - pos_margin) ** 2)
    return sum(losses) / len(losses)


def generalized_by_hand(rows, labels, neg_margin, pos_margin):
    losses = []
    for i, anchor in enumerate(rows):
        far = [(math.dist(anchor, other), labels[j] == labels[i]) for j, other in enumerate(rows) if j != i]
        pulls = sum(math.exp(dist - pos_margin) for dist, alike in far if alike)
        pushes = sum(math.exp(neg_margin - dist) for dist, alike in far if not alike)
        losses.append(max(0.0, math.log(pulls * pushes)) if pulls and pushes else 0.0)
    return sum(losses) / len(losses)


def sample(seed, count=12, classes=3):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.arange(count) % classes


@pytest.mark.parametrize(("neg_margin", "pos_margin"), [(1.0, 0.0), (-0.5, 1.0), (0.2, 0.9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_lifted_structure_matches_the_paper(neg_margin, pos_margin, seed):
    embeddings, labels = sample(seed)
    rows = F.normalize(embeddings).tolist()
    loss = LiftedStructureLoss(neg_margin=neg_margin, pos_margin=pos_margin)
    expected = lifted_by_hand(rows, labels, rows, labels, True, neg_margin, pos_margin)
    assert loss(embeddings, labels).item() == pytest.approx(expected)


def test_with_a_reference_both_ends_bring_their_negatives():
    embeddings, labels = sample(2, 5)
    reference, ref_labels = sample(3, 17)
    rows, others = F.normalize(embeddings).tolist(), F.normalize(reference).tolist()
    expected = lifted_by_hand(rows, labels, others, ref_labels, False, 1.0, 0.0)
    value = LiftedStructureLoss()(embeddings, labels, None, reference, ref_labels)
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize(("neg_margin", "pos_margin"), [(1.0, 0.0), (-3.0, 1.0), (-2.0, 0.9)])
def test_generalized_form_matches_the_paper(neg_margin, pos_margin):
    embeddings, labels = sample(4)
    loss = GeneralizedLiftedStructureLoss(neg_margin=max(neg_margin, -1.0), pos_margin=pos_margin)
    expected = generalized_by_hand(F.normalize(embeddings).tolist(), labels, max(neg_margin, -1.0), pos_margin)
    assert loss(embeddings, labels).item() == pytest.approx(expected)


def test_known_angles_give_the_known_numbers():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    # distances sqrt 2, 2, sqrt 2: [ln(e^(1-2) + e^(1-1.41421)) + 1.41421]^2 / 2, the same from either end
    assert LiftedStructureLoss()(embeddings, labels).item() == pytest.approx(1.040472, abs=1e-5)
    # 1.41421 + 1 - 2, 1.41421 + 1 - 1.41421, and the third has no positive
    assert GeneralizedLiftedStructureLoss()(embeddings, labels).item() == pytest.approx(0.471405, abs=1e-5)


@pytest.mark.parametrize(("cls", "theirs"), CLASSES)
@pytest.mark.parametrize("miner", [None, BatchHardMiner(), MultiSimilarityMiner()])
def test_matches_pytorch_metric_learning(cls, theirs, miner):
    embeddings, labels = sample(5, 24)
    tuples = miner and miner(embeddings, labels)
    if miner is not None and cls is LiftedStructureLoss:  # repeats count again there
        tuples = (*tuples[:2], *torch.stack([tuples[-2 if len(tuples) == 4 else 0], tuples[-1]]).unique(dim=1))
    torch.testing.assert_close(cls()(embeddings, labels, tuples), theirs()(embeddings, labels, tuples))


@pytest.mark.parametrize(("cls", "theirs"), CLASSES)
def test_matches_pytorch_metric_learning_with_cosines(cls, theirs):
    embeddings, labels = sample(6, 20)
    ours = cls(distance=CosineSimilarity(), neg_margin=0.2, pos_margin=0.8)
    other = theirs(distance=pml_distances.CosineSimilarity(), neg_margin=0.2, pos_margin=0.8)
    torch.testing.assert_close(ours(embeddings, labels), other(embeddings, labels))


def test_an_anchor_without_positives_loses_nothing_where_theirs_lets_one_term_through():
    embeddings, labels = sample(7, 5)[0], torch.arange(5)
    assert GeneralizedLiftedStructureLoss()(embeddings, labels).item() == 0.0
    assert pml.GeneralizedLiftedStructureLoss()(embeddings, labels).item() > 0.0
