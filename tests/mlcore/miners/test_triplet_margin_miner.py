"""Triplet margin mining against a triple loop, and against pytorch-metric-learning."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.miners as pml
import torch
import torch.nn.functional as F

from mlcore.miners import TripletMarginMiner, triplet_margin
from mlcore.tuples import all_triplets

WANTED = {
    "all": lambda lead, margin: lead <= margin,
    "hard": lambda lead, margin: lead <= margin and lead <= 0,
    "semihard": lambda lead, margin: 0 < lead <= margin,
    "easy": lambda lead, margin: lead > margin,
}


def sample(seed, count=14):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(3, (count,))


@pytest.mark.parametrize("kind", WANTED)
@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_keeps_the_triplets_on_the_asked_side_of_the_margin(kind, margin):
    embeddings, labels = sample(0)
    unit = F.normalize(embeddings)
    expected = []
    for a, p, n in zip(*(column.tolist() for column in all_triplets(labels)), strict=True):
        lead = (unit[a] - unit[n]).norm() - (unit[a] - unit[p]).norm()
        if WANTED[kind](lead.item(), margin):
            expected.append((a, p, n))
    ours = TripletMarginMiner(margin=margin, type_of_triplets=kind)(embeddings, labels)
    assert list(zip(*(column.tolist() for column in ours), strict=True)) == expected
    theirs = pml.TripletMarginMiner(margin=margin, type_of_triplets=kind)(embeddings, labels)
    assert sorted(zip(*(column.tolist() for column in theirs), strict=True)) == expected


def test_blocks_of_any_size_keep_the_same(monkeypatch):
    embeddings, labels = sample(1, 40)
    whole = TripletMarginMiner()(embeddings, labels)
    monkeypatch.setattr(triplet_margin, "BLOCK", 100)
    for ours, expected in zip(TripletMarginMiner()(embeddings, labels), whole, strict=True):
        assert torch.equal(ours, expected)
