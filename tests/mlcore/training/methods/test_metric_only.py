"""The metric loss alone is what the loop did by hand."""

from __future__ import annotations

import torch
from torch import nn

from mlcore.losses import ArcFaceLoss, TripletMarginLoss
from mlcore.miners import BatchHardMiner, DistanceWeightedMiner, NoMiner
from mlcore.training.methods import METHODS, MetricLossOnly


def test_is_the_loss_of_the_heads_embeddings_over_the_miners_tuples():
    torch.manual_seed(0)
    features, labels, head = torch.randn(12, 6), torch.arange(12) % 3, nn.Linear(6, 5)
    method = MetricLossOnly(lambda size: TripletMarginLoss(), BatchHardMiner(), 5)
    made = method(head, (features,), labels)
    embeddings = head(features)
    assert torch.equal(made.loss, TripletMarginLoss()(embeddings, labels, BatchHardMiner()(embeddings, labels)))
    assert (made.tuples, made.parts) == (12, {})


def test_the_loss_is_built_for_the_embedding_and_is_all_that_trains():
    method = METHODS["metric_only"].build(
        {"make_loss": lambda size: ArcFaceLoss(4, size), "miner": NoMiner(), "embedding_size": 5, "num_classes": 4}
    )
    assert [loss.proxies.shape for loss in method.losses()] == [(4, 5)]
    assert [name for name, _ in method.named_parameters()] == ["loss.proxies"]


def test_a_miner_that_counts_its_draws_is_saved_with_the_method():
    method = MetricLossOnly(lambda size: TripletMarginLoss(), DistanceWeightedMiner(), 5)
    method(nn.Identity(), (torch.randn(12, 5),), torch.arange(12) % 3)
    assert method.state_dict()["miner.calls"] == 1
