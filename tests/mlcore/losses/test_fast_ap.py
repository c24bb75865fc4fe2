"""FastAP against its paper, bin by bin, and against pytorch-metric-learning."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.losses import FastAPLoss


def by_hand(embeddings, labels, num_bins):
    """Equations 5 to 8 of the paper, over the anchors that have a positive."""
    width, unit, losses = 4 / num_bins, F.normalize(embeddings).tolist(), []
    for a, anchor in enumerate(unit):
        away = [sum((x - y) ** 2 for x, y in zip(anchor, other, strict=True)) for other in unit]
        mates = [i for i in range(len(unit)) if i != a and labels[i] == labels[a]]
        others = [i for i in range(len(unit)) if i != a]
        if not mates:
            continue
        precision, positives_up_to, all_up_to = 0.0, 0.0, 0.0
        for j in range(num_bins + 1):
            positives, everyone = (
                sum(max(0.0, 1 - abs(away[i] - j * width) / width) for i in items) for items in (mates, others)
            )
            positives_up_to, all_up_to = positives_up_to + positives, all_up_to + everyone
            if all_up_to > 0:
                precision += positives * positives_up_to / all_up_to
        losses.append(1 - precision / len(mates))
    return sum(losses) / len(losses)


def sample(seed, count=14):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("num_bins", [2, 10, 33])
def test_matches_the_paper(num_bins, seed):
    embeddings, labels = sample(seed)
    assert FastAPLoss(num_bins=num_bins)(embeddings, labels).item() == pytest.approx(
        by_hand(embeddings, labels, num_bins), abs=1e-9
    )


@pytest.mark.parametrize("power", [1, 2])
def test_matches_pytorch_metric_learning_in_value_and_gradient(power):
    embeddings, labels = sample(3, 40)
    ours, theirs = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    value = FastAPLoss(distance=LpDistance(power=power))(ours, labels)
    expected = pml.FastAPLoss(distance=pml_distances.LpDistance(power=power))(theirs, labels)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_every_distance_is_shared_between_two_bins():
    embeddings, labels = sample(4)
    loss = FastAPLoss()
    same = labels[:, None] == labels
    positives, negatives = loss.histograms(loss.distance(embeddings), same, ~same)
    torch.testing.assert_close(positives.sum(dim=1), same.sum(dim=1).double())
    torch.testing.assert_close(negatives.sum(dim=1), (~same).sum(dim=1).double())


def test_opposite_embeddings_stand_in_the_last_bin():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert FastAPLoss()(embeddings, torch.tensor([0, 0, 1])).item() == pytest.approx(0.0, abs=1e-6)
    assert FastAPLoss()(embeddings, torch.tensor([0, 1, 0])).item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("distance", [CosineSimilarity(), LpDistance(p=1), LpDistance(normalize_embeddings=False)])
def test_distances_of_another_range_are_refused(distance):
    with pytest.raises(ValueError, match="so that its range is known"):
        FastAPLoss(distance=distance)
