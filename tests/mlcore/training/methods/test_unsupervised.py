"""Two renderings of each image, whatever the labels say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlcore.losses import (
    LOSSES,
    ArcFaceLoss,
    ClipLoss,
    ContrastiveLoss,
    CrossBatchMemory,
    SelfSupervisedLoss,
    SigLipLoss,
    SupConLoss,
    TripletMarginLoss,
    VICRegLoss,
)
from mlcore.miners import TripletMarginMiner
from mlcore.training.methods import UnsupervisedEmbeddingsUsingAugmentations

LABELS = torch.zeros(7, dtype=torch.long)


def views():
    torch.manual_seed(0)
    return torch.randn(7, 4), torch.randn(7, 4)


def method_of(loss, miner=None, **knobs):
    return UnsupervisedEmbeddingsUsingAugmentations(lambda size: loss, miner, 4, **knobs)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    "loss", [SupConLoss(), TripletMarginLoss(), ContrastiveLoss()], ids=lambda loss: str(type(loss))
)
def test_is_the_self_supervised_wrapper_and_looks_at_no_label(loss, symmetric):
    method = method_of(loss, symmetric=symmetric)
    for _ in range(2):
        made = method(nn.Identity(), views(), LABELS)
        torch.testing.assert_close(made.loss, SelfSupervisedLoss(loss, symmetric)(*views()))


def test_matches_a_loop_over_both_renderings():
    one, two = (torch.nn.functional.normalize(view) for view in views())
    rows, total = torch.cat([one, two]), 0.0
    for a in range(14):
        others = [i for i in range(14) if i != a]
        sums = sum(torch.exp(rows[a] @ rows[i] / 0.1) for i in others)
        total -= torch.log(torch.exp(rows[a] @ rows[(a + 7) % 14] / 0.1) / sums)
    made = method_of(SupConLoss(temperature=0.1))(nn.Identity(), views(), LABELS)
    torch.testing.assert_close(made.loss, total / 14)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_miner_sees_what_the_loss_sees(symmetric):
    one, two = views()
    made = method_of(TripletMarginLoss(), TripletMarginMiner(), symmetric=symmetric)(nn.Identity(), (one, two), LABELS)
    places = torch.arange(7)
    if symmetric:
        joined, twice = torch.cat([one, two]), places.repeat(2)
        mined = TripletMarginMiner()(joined, twice)
        expected = TripletMarginLoss()(joined, twice, mined)
    else:
        mined = TripletMarginMiner()(one, places, two, places)
        expected = TripletMarginLoss()(one, places, mined, two, places)
    assert made.tuples == len(mined.anchors) > 0
    torch.testing.assert_close(made.loss, expected)


@pytest.mark.parametrize("loss", [ClipLoss(), SigLipLoss(), VICRegLoss()], ids=["clip", "siglip", "vicreg"])
def test_losses_of_two_views_get_them_row_by_row(loss):
    one, two = views()
    made = method_of(loss)(nn.Identity(), (one, two), LABELS)
    torch.testing.assert_close(made.loss, loss(one, ref_emb=two))


def test_every_loss_of_views_says_that_it_compares_them():
    for spec in LOSSES.values():
        assert bool(getattr(spec.load(), "compares_views", "")) == (spec.family == "views"), spec.key


def test_a_memory_never_takes_two_images_for_one():
    method = method_of(CrossBatchMemory(SupConLoss(), 4, memory_size=28))
    for _ in range(2):
        method(nn.Identity(), views(), LABELS)
    assert method.loss.label_memory.tolist() == [*range(7), *range(7), *range(7, 14), *range(7, 14)]
    assert method.state_dict()["seen"] == 14


def test_losses_with_proxies_and_memories_that_cannot_be_asked_across_are_refused():
    with pytest.raises(ValueError, match="unsupervised: the loss must compare embeddings with each other; got ArcFace"):
        method_of(ArcFaceLoss(3, 4))
    with pytest.raises(ValueError, match="unsupervised: the loss must take ref_emb"):
        method_of(CrossBatchMemory(SupConLoss(), 4), symmetric=False)
