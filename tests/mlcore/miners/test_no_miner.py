"""No miner."""

from __future__ import annotations

import torch

from mlcore.losses import ContrastiveLoss
from mlcore.miners import MINERS


def test_none_leaves_all_pairs_to_the_loss():
    embeddings, labels = torch.randn(6, 3), torch.arange(6) % 2
    tuples = MINERS["none"].build()(embeddings, labels)
    assert tuples is None
    assert ContrastiveLoss()(embeddings, labels, tuples).item() == ContrastiveLoss()(embeddings, labels).item()
