"""The recall@k surrogate against its paper, item by item."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mlcore.losses import RecallAtKLoss


def step(lead, temperature):
    return 1.0 / (1.0 + math.exp(min(-lead / temperature, 700.0)))


def by_hand(embeddings, labels, places, rank_temperature=1.0, temperature=0.01):
    """Equation 5 of arXiv:2108.11179, the sum held at k and divided by min(k, positives) as in the authors' code."""
    losses = []
    for a, anchor in enumerate(embeddings):
        listed = [i for i in range(len(embeddings)) if i != a]
        score = {i: F.cosine_similarity(anchor, embeddings[i], dim=0).item() for i in listed}
        mates = [i for i in listed if labels[i] == labels[a]]
        if not mates:
            continue
        ranks = [1 + sum(step(score[i] - score[p], temperature) for i in listed if i != p) for p in mates]
        recalls = [min(sum(step(k - rank, rank_temperature) for rank in ranks), k) / min(k, len(mates)) for k in places]
        losses.append(1 - sum(recalls) / len(places))
    return sum(losses) / len(losses)


def sample(seed, count=14):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("largest", "places"), [(1, [1]), (6, [1, 2, 4]), (16, [1, 2, 4, 8, 16])])
def test_matches_the_paper(largest, places, seed):
    embeddings, labels = sample(seed)
    for temperatures in ({}, {"rank_temperature": 0.5, "temperature": 0.2}):
        value = RecallAtKLoss(largest_k=largest, **temperatures)(embeddings, labels)
        assert value.item() == pytest.approx(by_hand(embeddings, labels, places, **temperatures), abs=1e-12)


def test_a_first_place_is_on_the_edge_of_the_first_place_and_well_inside_the_first_four():
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 90.0, 180.0], dtype=torch.float64))
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    listed = (torch.tensor([0]), torch.tensor([1]), torch.tensor([0, 0]), torch.tensor([2, 3]))
    for largest, inside in {1: [0.0], 2: [0.0, 1.0], 4: [0.0, 1.0, 3.0]}.items():
        recall = sum(step(places, 1.0) for places in inside) / len(inside)
        assert RecallAtKLoss(largest_k=largest)(embeddings, None, listed).item() == pytest.approx(1 - recall)


def test_the_loss_is_never_below_zero_where_all_are_tied():
    embeddings, labels = torch.ones(30, 4), torch.zeros(30, dtype=torch.long)
    assert RecallAtKLoss()(embeddings, labels).item() >= 0.0


def test_sharp_steps_count_the_class_mates_among_the_first_places():
    embeddings, labels = sample(3)
    unit = F.normalize(embeddings)
    order = (unit @ unit.T).fill_diagonal_(-2.0).argsort(dim=1, descending=True)[:, :-1]
    mates = labels[order] == labels[:, None]
    expected = []
    for a in range(len(labels)):
        count = int(mates[a].sum())
        for k in (1, 2, 4) if count else ():
            surely, at_the_edge = mates[a, : k - 1].sum().item(), mates[a, k - 1].item()
            expected.append(1 - (surely + 0.5 * at_the_edge) / min(k, count))  # a step is one half at its edge
    value = RecallAtKLoss(largest_k=4, rank_temperature=0.1, temperature=0.001)(embeddings, labels)
    assert value.item() == pytest.approx(sum(expected) / len(expected), abs=0.02)
