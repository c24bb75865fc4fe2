"""Maximum loss: the subset that loses most of those tried."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlcore.losses import ContrastiveLoss, TripletMarginLoss
from mlcore.miners import SUBSET_MINERS, BatchHardMiner, MaximumLossMiner
from mlcore.reducers import DoNothingReducer


def batch(count=30):
    torch.manual_seed(0)
    return torch.randn(count, 5), torch.randint(4, (count,))


@pytest.mark.parametrize("miner", [None, BatchHardMiner()])
def test_returns_the_rows_of_the_subset_with_the_largest_loss(miner):
    embeddings, labels = batch()
    loss = TripletMarginLoss(margin=0.4)
    seen = []

    def watched(rows, of_rows, tuples=None):
        value = loss(rows, of_rows, tuples)
        seen.append((value.item(), rows))
        return value

    subset = MaximumLossMiner(watched, 12, miner=miner, num_trials=6)
    chosen = subset(embeddings, labels)
    assert len(seen) == 6
    worst = max(seen, key=lambda trial: trial[0])
    assert torch.equal(embeddings[chosen], worst[1])
    assert len(chosen.unique()) == 12
    assert (subset.min_loss, subset.max_loss) == pytest.approx((min(seen)[0], worst[0]))


def test_a_small_batch_is_returned_whole():
    assert MaximumLossMiner(ContrastiveLoss(), 30)(*batch()).tolist() == list(range(30))


def test_trying_changes_nothing_in_the_loss_and_keeps_no_graph():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, embeddings, labels, tuples=None):
            if self.training:
                self.steps += 1
            assert not torch.is_grad_enabled()
            return (self.weight * embeddings).sum()

    loss = Counting()
    miner = MaximumLossMiner(loss, 8)
    miner(*batch())
    assert loss.training
    assert loss.steps == 0
    assert list(miner.state_dict()) == ["calls"]
    assert list(miner.parameters()) == []


def test_draws_are_its_own_and_those_of_its_seed():
    first, again, other = (MaximumLossMiner(ContrastiveLoss(), 8, seed=seed) for seed in (3, 3, 4))
    embeddings, labels = batch()
    state = torch.get_rng_state()
    rows = first(embeddings, labels)
    assert torch.equal(again(embeddings, labels), rows)
    assert not torch.equal(other(embeddings, labels), rows)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_without_a_number_is_refused():
    with pytest.raises(ValueError, match="must give one number"):
        MaximumLossMiner(ContrastiveLoss(reducer=DoNothingReducer()), 8)(*batch())


def test_it_is_declared_apart_from_the_miners_of_tuples():
    spec = SUBSET_MINERS["maximum_loss"]
    assert spec.sizes == ("loss",)
    assert [param.name for param in spec.params] == ["output_batch_size", "num_trials", "seed"]
    assert "What to expect: " in spec.description
