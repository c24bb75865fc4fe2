"""Batches that come as triplets."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.miners as pml
import torch

from mlcore.losses import TripletMarginLoss
from mlcore.miners import EmbeddingsAlreadyPackagedAsTriplets


def test_rows_are_anchor_positive_negative_in_turn():
    embeddings, labels = torch.randn(9, 4), torch.zeros(9, dtype=torch.long)
    triplets = EmbeddingsAlreadyPackagedAsTriplets()(embeddings, labels)
    assert [column.tolist() for column in triplets] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    for ours, theirs in zip(triplets, pml.EmbeddingsAlreadyPackagedAsTriplets()(embeddings, labels), strict=True):
        assert ours.tolist() == theirs.tolist()
    assert TripletMarginLoss(margin=2.0)(embeddings, indices_tuple=triplets).item() > 0


def test_a_batch_that_ends_within_a_triplet_is_refused():
    with pytest.raises(ValueError, match=r"must be a multiple of 3.*got 32 rows. Pass batch_size=33"):
        EmbeddingsAlreadyPackagedAsTriplets()(torch.randn(32, 4))


def test_a_reference_is_refused():
    with pytest.raises(ValueError, match="take no ref_emb"):
        EmbeddingsAlreadyPackagedAsTriplets()(torch.randn(3, 4), ref_emb=torch.randn(3, 4))
