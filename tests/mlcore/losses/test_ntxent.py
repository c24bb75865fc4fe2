"""NT-Xent against its equation, pair by pair, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import NTXentLoss
from mlcore.miners import MultiSimilarityMiner
from mlcore.tuples import Pairs


def by_hand(embeddings, labels, temperature):
    """Each positive pair against the negatives of its anchor, the other positives left out."""
    losses = []
    for i, anchor in enumerate(embeddings):
        scores = [F.cosine_similarity(anchor, other, dim=0).item() / temperature for other in embeddings]
        negatives = sum(math.exp(scores[j]) for j in range(len(scores)) if labels[j] != labels[i])
        for j in range(len(scores)):
            if j != i and labels[j] == labels[i]:
                losses.append(-math.log(math.exp(scores[j]) / (math.exp(scores[j]) + negatives)))
    return sum(losses) / len(losses)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_matches_a_loop_over_pairs(temperature, seed):
    embeddings, labels = sample(seed)
    loss = NTXentLoss(temperature=temperature)
    assert loss(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, temperature))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = NTXentLoss(temperature=0.5)(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(0.126928, abs=1e-6)  # ln(e^2 + 1) - 2


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    embeddings, labels = sample(3, 40)
    tuples = MultiSimilarityMiner()(embeddings, labels) if mined else None
    torch.testing.assert_close(NTXentLoss()(embeddings, labels, tuples), pml.NTXentLoss()(embeddings, labels, tuples))


def test_matches_pytorch_metric_learning_with_a_reference_and_with_distances():
    embeddings, labels = sample(4)
    reference, ref_labels = sample(5, 20)
    ours, theirs = NTXentLoss(distance=LpDistance()), pml.NTXentLoss(distance=pml_distances.LpDistance())
    torch.testing.assert_close(
        ours(embeddings, labels, None, reference, ref_labels), theirs(embeddings, labels, None, reference, ref_labels)
    )


def test_two_views_give_the_loss_of_simclr():
    torch.manual_seed(6)
    embeddings, labels = torch.randn(10, 4, dtype=torch.float64), torch.arange(5).repeat(2)
    cosines = F.normalize(embeddings) @ F.normalize(embeddings).T
    logits = (cosines / 0.5).fill_diagonal_(-torch.inf)
    simclr = F.cross_entropy(logits, (torch.arange(10) + 5) % 10)
    torch.testing.assert_close(NTXentLoss(temperature=0.5)(embeddings, labels), simclr)


def test_a_repeated_pair_counts_once_where_theirs_counts_it_again():
    embeddings, _ = sample(7)
    once = Pairs(*(torch.tensor(column) for column in ([0], [1], [0, 0], [2, 3])))
    twice = Pairs(*(torch.tensor(column) for column in ([0], [1], [0, 0, 0], [2, 3, 3])))
    ours = NTXentLoss()
    torch.testing.assert_close(ours(embeddings, None, once), ours(embeddings, None, twice))
    theirs = pml.NTXentLoss()
    assert theirs(embeddings, None, once) < theirs(embeddings, None, twice)
