"""NCA against its definition, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import NCALoss
from mlcore.miners import BatchHardMiner
from mlcore.reducers import DoNothingReducer


def by_hand(embeddings, labels, scale):
    """Minus the log of the chance to pick a class mate, over the anchors that have one."""
    rows = F.normalize(embeddings).tolist()
    losses = []
    for i, anchor in enumerate(rows):
        chances = [math.exp(-scale * math.dist(anchor, other) ** 2) for other in rows]
        chances[i] = 0.0
        own = sum(chance for j, chance in enumerate(chances) if labels[j] == labels[i])
        if own:
            losses.append(-math.log(own / sum(chances)))
    return sum(losses) / len(losses)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("scale", [1.0, 9.0])
def test_matches_the_definition(scale, seed):
    embeddings, labels = sample(seed)
    assert NCALoss(softmax_scale=scale)(embeddings, labels).item() == pytest.approx(by_hand(embeddings, labels, scale))


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    value = NCALoss()(embeddings, torch.tensor([0, 0, 1]))
    # squared distances 2 and 4 for the first: ln(1 + e^-2); 2 and 2 for the second: ln 2; the third has no class mate
    assert value.item() == pytest.approx((0.126928 + 0.693147) / 2, abs=1e-6)


@pytest.mark.parametrize("mined", [False, True])
def test_matches_pytorch_metric_learning(mined):
    embeddings, labels = sample(3, 40)
    tuples = BatchHardMiner()(embeddings, labels) if mined else None
    torch.testing.assert_close(NCALoss()(embeddings, labels, tuples), pml.NCALoss()(embeddings, labels, tuples))
    reference, ref_labels = sample(4, 30)
    tuples = BatchHardMiner()(embeddings, labels, reference, ref_labels) if mined else None
    arguments = (embeddings, labels, tuples, reference, ref_labels)
    torch.testing.assert_close(NCALoss(softmax_scale=3.0)(*arguments), pml.NCALoss(softmax_scale=3.0)(*arguments))


def test_the_worst_anchor_is_kept_where_theirs_drops_it():
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 1e-3]])
    labels = torch.tensor([0, 0, 1])
    far = NCALoss(softmax_scale=50.0, distance=LpDistance(power=2), reducer=DoNothingReducer())
    assert far(embeddings, labels)["loss"].tolist() == pytest.approx([200.0, 0.693147], abs=1e-2)
    assert pml.NCALoss(softmax_scale=50.0)(embeddings, labels).item() == pytest.approx(0.693147, abs=1e-2)
