"""Multi-similarity against its paper, anchor by anchor, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import MultiSimilarityLoss
from mlcore.miners import MultiSimilarityMiner


def by_hand(embeddings, labels, alpha, beta, base):
    """Equation 15 of arXiv:1904.06627 over all pairs, without its mining."""
    total = 0.0
    for i, anchor in enumerate(embeddings):
        near, far = 0.0, 0.0
        for j, other in enumerate(embeddings):
            similarity = F.cosine_similarity(anchor, other, dim=0).item()
            if labels[j] != labels[i]:
                far += math.exp(beta * (similarity - base))
            elif j != i:
                near += math.exp(-alpha * (similarity - base))
        total += math.log(1 + near) / alpha + math.log(1 + far) / beta
    return total / len(embeddings)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("alpha", "beta", "base"), [(2.0, 50.0, 0.5), (2.0, 40.0, 1.0), (0.5, 1.0, 0.0)])
def test_matches_the_paper(alpha, beta, base, seed):
    embeddings, labels = sample(seed)
    loss = MultiSimilarityLoss(alpha=alpha, beta=beta, base=base)
    assert loss(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, alpha, beta, base))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    value = MultiSimilarityLoss(alpha=2.0, beta=50.0, base=0.5)(embeddings, torch.tensor([0, 0]))
    assert value.item() == pytest.approx(0.656631, abs=1e-6)  # ln(1 + e) / 2, no negatives


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    embeddings, labels = sample(2, 40)
    tuples = MultiSimilarityMiner()(embeddings, labels) if mined else None
    ours, theirs = MultiSimilarityLoss(), pml.MultiSimilarityLoss()
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))


def test_matches_pytorch_metric_learning_with_a_reference_and_with_distances():
    embeddings, labels = sample(3)
    reference, ref_labels = sample(4, 20)
    ours = MultiSimilarityLoss(distance=LpDistance())
    theirs = pml.MultiSimilarityLoss(distance=pml_distances.LpDistance())
    torch.testing.assert_close(
        ours(embeddings, labels, None, reference, ref_labels), theirs(embeddings, labels, None, reference, ref_labels)
    )


def test_threshold_is_drawn_as_an_angle():
    (line,) = MultiSimilarityLoss(base=0.5).margin_lines()
    assert line.place(1.0) == pytest.approx(math.pi / 3)
    assert MultiSimilarityLoss(distance=LpDistance()).margin_lines() == ()
