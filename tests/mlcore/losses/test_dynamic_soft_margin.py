"""Dynamic soft margin against its definition, its running histogram, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import CosineSimilarity
from mlcore.losses import DynamicSoftMarginLoss


def leads_by_hand(embeddings, labels):
    rows, leads = F.normalize(embeddings).tolist(), []
    for a, anchor in enumerate(rows):
        for p, positive in enumerate(rows):
            if a != p and labels[a] == labels[p]:
                strangers = [row for row, label in zip(rows, labels, strict=True) if label != labels[a]]
                closest = min(min(math.dist(anchor, n), math.dist(positive, n)) for n in strangers)
                leads.append(math.dist(anchor, positive) - closest)
    return leads


def histogram_by_hand(leads, bins, start):
    delta = 2 * abs(start) / bins
    points = [start + k * delta for k in range(bins + 1)]
    inside = [min(max(lead, start), -start) for lead in leads]
    return [sum(max(0.0, 1 - abs(lead - point) / delta) for lead in inside) / len(leads) for point in points]


def weighted_by_hand(leads, histogram, start):
    bins = len(histogram) - 1
    delta = 2 * abs(start) / bins
    places = [min(bins - 1, max(0, math.floor((lead - start) / delta))) for lead in leads]
    return sum(sum(histogram[: place + 1]) * lead for place, lead in zip(places, leads, strict=True)) / len(leads)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.arange(count) % 4


@pytest.mark.parametrize(("bins", "start"), [(10, -2.0), (512, -2.0), (7, -0.5)])
def test_matches_the_definition_on_the_first_batch_and_with_momentum_on_the_second(bins, start):
    loss = DynamicSoftMarginLoss(num_bins=bins, min_val=start, momentum=0.25).double()
    first, second = leads_by_hand(*sample(0)), leads_by_hand(*sample(1))
    histogram = histogram_by_hand(first, bins, start)
    assert loss(*sample(0)).item() == pytest.approx(weighted_by_hand(first, histogram, start))
    new = histogram_by_hand(second, bins, start)
    histogram = [0.75 * before + 0.25 * now for before, now in zip(histogram, new, strict=True)]
    assert loss(*sample(1)).item() == pytest.approx(weighted_by_hand(second, histogram, start))
    assert loss.histogram.tolist() == pytest.approx(histogram)


def test_first_batch_of_matching_pairs_matches_pytorch_metric_learning():
    torch.manual_seed(2)
    left, right = torch.randn(2, 20, 8, dtype=torch.float64)
    right = right + 1.5 * left  # leads stay below 1.6, where theirs writes past the end of its histogram
    labels = torch.arange(20)
    theirs = pml.DynamicSoftMarginLoss()(left, None, None, right, None)  # their gradient fails on a changed matrix
    torch.testing.assert_close(DynamicSoftMarginLoss().double()(left, labels, None, right, labels), theirs)


def test_a_second_step_works_and_weights_take_no_gradient():
    loss = DynamicSoftMarginLoss().double()
    for seed in (3, 4):
        embeddings, labels = sample(seed)
        loss(embeddings.requires_grad_(), labels).backward()
    assert not loss.histogram.requires_grad
    assert loss.histogram.sum().item() == pytest.approx(1.0)


def test_histogram_is_saved_and_changes_only_in_training():
    loss = DynamicSoftMarginLoss()
    loss(*sample(5))
    known = loss.state_dict()["histogram"].clone()
    loss.eval()
    loss(*sample(6))
    assert torch.equal(loss.histogram, known)
    loss.train()
    loss(*sample(6))
    assert not torch.equal(loss.histogram, known)
    fresh = DynamicSoftMarginLoss().eval()
    fresh(*sample(6))
    assert not fresh.histogram.any()


def test_leads_at_the_end_of_the_range_have_a_place():
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])  # positives 2 apart, negatives 0
    value = DynamicSoftMarginLoss()(embeddings, torch.tensor([0, 0, 1, 1]))
    assert math.isfinite(value.item())


def test_another_distance_is_refused():
    with pytest.raises(ValueError, match="distance must be LpDistance"):
        DynamicSoftMarginLoss(distance=CosineSimilarity())
