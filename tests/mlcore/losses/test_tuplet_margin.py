"""Tuplet margin loss against its equation, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import TupletMarginLoss
from mlcore.miners import BatchHardMiner, MultiSimilarityMiner


def by_hand(embeddings, labels, margin, scale):
    """One loss per positive pair, with the angle itself."""
    losses = []
    for i, anchor in enumerate(embeddings):
        near = [F.cosine_similarity(anchor, other, dim=0).item() for other in embeddings]
        strangers = [near[j] for j in range(len(near)) if labels[j] != labels[i]]
        for j in range(len(near)):
            if j != i and labels[j] == labels[i]:
                slackened = math.cos(math.acos(near[j]) - margin)
                losses.append(math.log1p(sum(math.exp(scale * (s - slackened)) for s in strangers)))
    return sum(losses) / len(losses)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(3, (count,))


@pytest.mark.parametrize(("margin", "scale"), [(0.0, 1.0), (0.1, 64.0), (1.0, 16.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_paper(margin, scale, seed):
    embeddings, labels = sample(seed)
    value = TupletMarginLoss(margin=margin, scale=scale)(embeddings, labels)
    assert value.item() == pytest.approx(by_hand(embeddings, labels, margin, scale))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    value = TupletMarginLoss(margin=math.pi / 6, scale=2.0)(embeddings, torch.tensor([0, 0, 1]))
    # the slack turns 90 degrees into 60: ln(1 + e^(2(-1 - 1/2))) and ln(1 + e^(2(0 - 1/2)))
    assert value.item() == pytest.approx((0.048587 + 0.313262) / 2, abs=1e-6)


@pytest.mark.parametrize("miner", [None, BatchHardMiner(), MultiSimilarityMiner()])
def test_matches_pytorch_metric_learning_which_takes_degrees(miner):
    embeddings, labels = sample(2, 40)
    tuples = miner and miner(embeddings, labels)
    ours, theirs = TupletMarginLoss(margin=0.2), pml.TupletMarginLoss(margin=math.degrees(0.2))
    torch.testing.assert_close(ours(embeddings, labels, tuples), theirs(embeddings, labels, tuples))
    reference, ref_labels = sample(3, 20)
    torch.testing.assert_close(
        ours(embeddings, labels, None, reference, ref_labels), theirs(embeddings, labels, None, reference, ref_labels)
    )


def test_identical_pairs_have_a_finite_gradient_where_theirs_is_nan():
    torch.manual_seed(4)
    rows = torch.randn(32, 64).repeat(2, 1)
    labels = torch.arange(32).repeat(2)
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    TupletMarginLoss()(ours, labels).backward()
    pml.TupletMarginLoss()(theirs, labels).backward()
    assert torch.isfinite(ours.grad).all()
    assert not torch.isfinite(theirs.grad).all()


def test_degrees_and_other_distances_are_refused():
    with pytest.raises(ValueError, match=r"If that is degrees, pass 0\.100"):
        TupletMarginLoss(margin=5.73)
    with pytest.raises(ValueError, match="distance must be CosineSimilarity"):
        TupletMarginLoss(distance=LpDistance())
