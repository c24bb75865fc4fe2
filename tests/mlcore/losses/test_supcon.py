"""SupCon against its paper, anchor by anchor, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import SupConLoss
from mlcore.miners import MultiSimilarityMiner


def by_hand(embeddings, labels, temperature):
    """Equation 2 of arXiv:2004.11362, over the anchors that have a positive."""
    losses = []
    for i, anchor in enumerate(embeddings):
        others = [j for j in range(len(embeddings)) if j != i]
        scores = {j: F.cosine_similarity(anchor, embeddings[j], dim=0).item() / temperature for j in others}
        everyone = math.log(sum(math.exp(score) for score in scores.values()))
        mates = [j for j in others if labels[j] == labels[i]]
        if mates:
            losses.append(sum(everyone - scores[j] for j in mates) / len(mates))
    return sum(losses) / len(losses)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_matches_the_paper(temperature, seed):
    embeddings, labels = sample(seed)
    loss = SupConLoss(temperature=temperature)
    assert loss(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, temperature))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = SupConLoss(temperature=0.5)(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(0.126928, abs=1e-6)  # ln(e^2 + 1) - 2, twice; the third has no positive


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    embeddings, labels = sample(3, 40)
    tuples = MultiSimilarityMiner()(embeddings, labels) if mined else None
    ours, theirs = SupConLoss(), pml.SupConLoss()
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))


def test_matches_pytorch_metric_learning_with_a_reference_and_with_distances():
    embeddings, labels = sample(4)
    reference, ref_labels = sample(5, 20)
    ours = SupConLoss(distance=LpDistance())
    theirs = pml.SupConLoss(distance=pml_distances.LpDistance())
    torch.testing.assert_close(
        ours(embeddings, labels, None, reference, ref_labels), theirs(embeddings, labels, None, reference, ref_labels)
    )


def test_a_single_class_is_spread_evenly_where_theirs_gives_zero():
    embeddings, labels = sample(6)[0], torch.zeros(12, dtype=torch.long)
    assert SupConLoss()(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, 0.1))
    assert pml.SupConLoss()(embeddings, labels).item() == 0.0


def test_two_views_with_the_same_labels_keep_the_pair_of_each_sample():
    views, labels = sample(7), torch.arange(12)
    loss = SupConLoss()
    assert loss(views[0], labels, ref_emb=views[0].clone(), ref_labels=labels).item() > 0.0
