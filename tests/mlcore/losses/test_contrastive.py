"""Contrastive loss against a loop over pairs, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, DotProductSimilarity, LpDistance
from mlcore.losses import ContrastiveLoss
from mlcore.miners import MultiSimilarityMiner, TripletMarginMiner
from mlcore.reducers import MeanReducer


def by_hand(embeddings, labels, pos_margin, neg_margin, squared=False):
    """Hinges on the Euclidean distance of unit vectors, each half averaged over its non-zero pairs."""
    unit = F.normalize(embeddings)
    halves = ([], [])
    for i, left in enumerate(unit):
        for j, right in enumerate(unit):
            dist = math.dist(left.tolist(), right.tolist())
            if i != j:
                alike = bool(labels[i] == labels[j])
                hinge = max(0.0, dist - pos_margin if alike else neg_margin - dist)
                halves[alike].append(0.5 * hinge**2 if squared else hinge)
    return sum(sum(half) / max(1, sum(item > 0 for item in half)) for half in halves)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(3, (count,))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("pos_margin", "neg_margin"), [(0.0, 1.0), (0.5, 1.5), (0.2, 0.1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_a_loop_over_pairs(pos_margin, neg_margin, squared, seed):
    embeddings, labels = sample(seed)
    loss = ContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin, squared=squared)
    expected = by_hand(embeddings, labels, pos_margin, neg_margin, squared)
    assert loss(embeddings, labels).item() == pytest.approx(expected)


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, math.sqrt(0.75)]])  # 90 degrees, 60 degrees, 30 degrees
    value = ContrastiveLoss()(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(1.896575, abs=1e-5)  # sqrt(2) + (1 - 2 sin 15deg), the other 0


@pytest.mark.parametrize("miner", [None, TripletMarginMiner(), MultiSimilarityMiner()])
def test_matches_pytorch_metric_learning(miner):
    embeddings, labels = sample(2, 40)
    tuples = miner and miner(embeddings, labels)
    ours, theirs = ContrastiveLoss(pos_margin=0.1), pml.ContrastiveLoss(pos_margin=0.1)
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))


def test_matches_pytorch_metric_learning_with_a_reference_and_with_cosines():
    embeddings, labels = sample(3)
    reference, ref_labels = sample(4, 20)
    theirs = pml.ContrastiveLoss(pos_margin=0.9, neg_margin=0.2, distance=pml_distances.CosineSimilarity())
    ours = ContrastiveLoss(pos_margin=0.9, neg_margin=0.2, distance=CosineSimilarity())
    torch.testing.assert_close(
        ours(embeddings, labels, None, reference, ref_labels), theirs(embeddings, labels, None, reference, ref_labels)
    )


def test_one_single_pair_counts_where_theirs_throws_it_away():
    embeddings, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    pair = (
        torch.tensor([0]),
        torch.tensor([1]),
        torch.tensor([], dtype=torch.long),
        torch.tensor([], dtype=torch.long),
    )
    assert ContrastiveLoss()(embeddings, labels, pair).item() == pytest.approx(math.sqrt(2))
    assert pml.ContrastiveLoss()(embeddings, labels, pair).item() == 0.0


def test_ready_made_pairs_need_no_labels():
    embeddings, labels = sample(5)
    tuples = TripletMarginMiner()(embeddings, labels)
    loss = ContrastiveLoss(reducer=MeanReducer())
    torch.testing.assert_close(loss(embeddings, indices_tuple=tuples), loss(embeddings, labels, tuples))


@pytest.mark.parametrize("distance", [CosineSimilarity, DotProductSimilarity])
def test_a_similarity_with_the_margins_of_a_distance_is_refused(distance):
    with pytest.raises(ValueError, match="pass pos_margin=1, neg_margin=0"):
        ContrastiveLoss(distance=distance())


def test_margins_are_drawn_at_the_angles_of_their_distances():
    positive, negative = ContrastiveLoss(pos_margin=0.0, neg_margin=1.0).margin_lines()
    assert positive.place(0.3) == 0.0
    assert negative.place(0.3) == pytest.approx(math.pi / 3)  # a chord of 1 spans 60 degrees
    _, negative = ContrastiveLoss(pos_margin=1.0, neg_margin=0.5, distance=CosineSimilarity()).margin_lines()
    assert negative.place(0.3) == pytest.approx(math.pi / 3)
    _, negative = ContrastiveLoss(neg_margin=1.0, distance=LpDistance(power=2)).margin_lines()
    assert negative.place(0.3) == pytest.approx(math.pi / 3)
    assert ContrastiveLoss(distance=LpDistance(normalize_embeddings=False)).margin_lines() == ()
