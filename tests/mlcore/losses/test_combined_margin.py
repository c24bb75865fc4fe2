"""The combined margin against its paper, and against its parents."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import ArcFaceLoss, CombinedMarginLoss, CosFaceLoss


def by_hand(embedding, label, proxies, margins, scale):
    """Equation 4 of arXiv:1801.07698."""
    m1, m2, m3 = margins
    angles = [math.acos(F.cosine_similarity(embedding, proxy, dim=0)) for proxy in proxies]
    logits = [
        scale * (math.cos(m1 * angle + m2) - m3 if j == label else math.cos(angle)) for j, angle in enumerate(angles)
    ]
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


@pytest.mark.parametrize("margins", [(1.0, 0.5, 0.0), (1.0, 0.3, 0.2), (0.9, 0.4, 0.15), (1.35, 0.2, 0.1)])
def test_matches_the_paper_where_the_angle_stays_below_pi(margins):
    torch.manual_seed(0)
    m1, m2, m3 = margins
    loss = CombinedMarginLoss(4, 3, m1=m1, m2=m2, m3=m3, scale=16.0).double()
    with torch.no_grad():
        loss.proxies.copy_(torch.rand(4, 3))
    embeddings, labels = torch.rand(8, 3, dtype=torch.float64), torch.arange(8) % 4
    expected = [
        by_hand(row, label, loss.proxies.detach(), margins, 16.0)
        for row, label in zip(embeddings, labels.tolist(), strict=True)
    ]
    assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / 8)


@pytest.mark.parametrize(
    ("margins", "parent"),
    [
        ({"m2": 0.4}, ArcFaceLoss(4, 3, margin=0.4)),
        ({"m2": 0.0, "m3": 0.35}, CosFaceLoss(4, 3)),
        ({"m2": 0.0}, CosFaceLoss(4, 3, margin=0.0)),
    ],
)
def test_is_its_parents_at_all_angles(margins, parent):
    torch.manual_seed(1)
    embeddings, labels = torch.randn(40, 3), torch.arange(40) % 4
    loss = CombinedMarginLoss(4, 3, **margins)
    loss.proxies = parent.proxies
    torch.testing.assert_close(loss(embeddings, labels), parent(embeddings, labels))


@pytest.mark.parametrize("m1", [0.5, 0.9, 1.0, 1.35, 2.0, 4.0])
@pytest.mark.parametrize("m2", [0.0, 0.5, 1.5])
def test_the_target_falls_all_the_way_to_pi(m1, m2):
    loss = CombinedMarginLoss(2, 2, m1=m1, m2=m2).double()
    angles = torch.linspace(0.0, math.pi, 400, dtype=torch.float64)
    found = loss.target(angles.cos()[:, None], torch.ones((), dtype=torch.float64), None).squeeze(1)
    assert all(one > other for one, other in itertools.pairwise(found.tolist()))


def test_margins_are_drawn_only_where_they_are_an_angle_or_a_cosine():
    assert CombinedMarginLoss(2, 2, m1=0.9).margin_lines() == ()
    assert CombinedMarginLoss(2, 2, m3=0.1).margin_lines() == ()
    assert CombinedMarginLoss(2, 2).margin_lines()[0].place(0.4) == pytest.approx(0.9)
    assert CombinedMarginLoss(2, 2, m2=0.0, m3=0.5).margin_lines()[0].place(0.0) == pytest.approx(math.pi / 3)
