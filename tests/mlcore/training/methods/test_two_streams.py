"""Loss across two streams, against a loop and against pytorch-metric-learning's way of joining them."""

from __future__ import annotations

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F
from pytorch_metric_learning.utils import common_functions, loss_and_miner_utils
from torch import nn

from mlcore.losses import (
    ArcFaceLoss,
    ClipLoss,
    ContrastiveLoss,
    CrossBatchMemory,
    SigLipLoss,
    SupConLoss,
    TripletMarginLoss,
    VICRegLoss,
)
from mlcore.miners import BatchHardMiner
from mlcore.training.methods import METHODS, TwoStreamMetricLoss

LABELS = torch.arange(9) % 3


def views():
    torch.manual_seed(0)
    return torch.randn(9, 4), torch.randn(9, 4)


def method_of(loss, miner=None, **knobs):
    return TwoStreamMetricLoss(lambda size: loss, miner, 4, **knobs)


def test_matches_a_loop_over_anchors_of_one_stream_and_the_others_of_the_other():
    queries, answers = (F.normalize(view) for view in views())
    losses = []
    for a in range(9):
        for p in range(9):
            for n in range(9):
                if LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]:
                    gap = (queries[a] - answers[p]).norm() - (queries[a] - answers[n]).norm() + 0.2
                    losses.append(gap.clamp_min(0.0))
    violating = [value for value in losses if value > 0]
    made = method_of(TripletMarginLoss(margin=0.2))(nn.Identity(), views(), LABELS)
    torch.testing.assert_close(made.loss, sum(violating) / len(violating))


def test_matches_pytorch_metric_learnings_joined_streams():
    triplets = loss_and_miner_utils.get_all_triplets_indices(LABELS, LABELS.clone())
    shifted = common_functions.shift_indices_tuple(triplets, 9)
    theirs = pml.TripletMarginLoss(margin=0.2)(torch.cat(views()), LABELS.repeat(2), shifted)
    torch.testing.assert_close(method_of(TripletMarginLoss(margin=0.2))(nn.Identity(), views(), LABELS).loss, theirs)


def test_tuples_are_mined_across_the_streams():
    queries, answers = views()
    made = method_of(ContrastiveLoss(), BatchHardMiner())(nn.Identity(), (queries, answers), LABELS)
    mined = BatchHardMiner()(queries, LABELS, answers, LABELS)
    assert made.tuples == 9
    torch.testing.assert_close(made.loss, ContrastiveLoss()(queries, LABELS, mined, answers, LABELS))


@pytest.mark.parametrize("loss", [ClipLoss(), SigLipLoss(), VICRegLoss()], ids=["clip", "siglip", "vicreg"])
def test_losses_of_two_views_take_the_streams_for_them(loss):
    queries, answers = views()
    made = method_of(loss)(nn.Identity(), (queries, answers), LABELS)
    torch.testing.assert_close(made.loss, loss(queries, LABELS, None, answers, LABELS))


def test_a_second_head_maps_the_second_stream_and_trains():
    sizes = {"make_loss": lambda size: SupConLoss(), "miner": None, "embedding_size": 3, "feature_size": 4}
    method = METHODS["two_streams"].build(sizes, second_head=True)
    head = nn.Linear(4, 3)
    queries, answers = views()
    made = method(head, (queries, answers), LABELS)
    expected = SupConLoss()(head(queries), LABELS, None, method.second_head(answers), LABELS)
    torch.testing.assert_close(made.loss, expected)
    made.loss.backward()
    assert method.second_head.weight.grad.abs().sum() > 0
    assert head.weight.grad.abs().sum() > 0
    assert list(METHODS["two_streams"].build(sizes).parameters()) == []


def test_what_cannot_be_asked_across_is_refused():
    with pytest.raises(ValueError, match="two_streams: the loss must compare embeddings with each other; got ArcFace"):
        method_of(ArcFaceLoss(3, 4))
    with pytest.raises(ValueError, match="two_streams: the loss must take ref_emb"):
        method_of(CrossBatchMemory(SupConLoss(), 4))
    with pytest.raises(ValueError, match="second_head must come with feature_size"):
        method_of(SupConLoss(), second_head=True)
