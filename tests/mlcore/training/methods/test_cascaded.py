"""The cascade against lists that are sorted stage after stage."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlcore.distances import CosineSimilarity
from mlcore.losses import ArcFaceLoss, ContrastiveLoss, SoftmaxLoss, TripletMarginLoss
from mlcore.miners import TripletMarginMiner
from mlcore.training.methods import CascadedEmbeddings
from mlcore.tuples import Pairs, Triplets, all_triplets


class Untelling(nn.Module):
    """A loss with proxies that has no get_logits."""

    def __init__(self, size):
        super().__init__()
        self.proxies = nn.Parameter(torch.ones(3, size))

    def forward(self, embeddings, labels, indices_tuple=None):
        return (embeddings @ self.proxies.T).mean()


def sample(count=11, size=8):
    torch.manual_seed(0)
    return torch.randn(count, size, dtype=torch.float64), torch.arange(count) % 3


def cascade(make_loss, miner=None, size=8, **knobs):
    return CascadedEmbeddings(make_loss, miner, size, **knobs).double()


def far(rows, i, j):
    return (F.normalize(rows[i], dim=0) - F.normalize(rows[j], dim=0)).norm().item()


def hardest(entries, share):
    """The first ceil(share n) of (hardness, ...) entries, from the hardest."""
    ranked = sorted(entries, key=lambda entry: -entry[0])
    return [entry[1:] for entry in ranked[: math.ceil(share * len(ranked) - 1e-9)]]


def columns(entries, width):
    return [torch.tensor([entry[place] for entry in entries], dtype=torch.long) for place in range(width)]


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_pairs_pass_from_slice_to_slice_by_the_distances_in_the_one_before(share):
    embeddings, labels = sample()
    method = cascade(lambda size: ContrastiveLoss(neg_margin=1.3), stages=3, kept_share=share)
    made = method(nn.Identity(), (embeddings,), labels)
    everything = [(i, j) for i in range(11) for j in range(11) if i != j]
    positive = [pair for pair in everything if labels[pair[0]] == labels[pair[1]]]
    negative = [pair for pair in everything if labels[pair[0]] != labels[pair[1]]]
    for stage, (start, end) in enumerate([(0, 3), (3, 6), (6, 8)], start=1):
        rows = embeddings[:, start:end]
        tuples = Pairs(*columns(positive, 2), *columns(negative, 2))
        expected = ContrastiveLoss(neg_margin=1.3)(rows, labels, tuples).item()
        # Both orders of a pair are equally far; which of them is cut off leaves the loss as it is.
        assert made.parts[f"stage {stage}"] == pytest.approx(expected, rel=1e-5)
        positive = hardest([(far(rows, *pair), *pair) for pair in positive], share)
        negative = hardest([(-far(rows, *pair), *pair) for pair in negative], share)
    assert made.tuples is None


def test_triplets_pass_by_how_much_closer_their_negative_is():
    embeddings, labels = sample()
    method = cascade(
        lambda size: TripletMarginLoss(margin=0.4, distance=CosineSimilarity()),
        TripletMarginMiner(margin=0.4),
        stages=2,
        kept_share=0.25,
    )
    made = method(nn.Identity(), (embeddings,), labels)
    first, second = embeddings[:, :4], embeddings[:, 4:]
    mined = TripletMarginMiner(margin=0.4)(first, labels)
    assert made.tuples == len(mined.anchors) < len(all_triplets(labels).anchors)
    cosines = F.normalize(first) @ F.normalize(first).T
    ranked = [
        ((cosines[a, n] - cosines[a, p]).item(), a, p, n)
        for a, p, n in zip(*(column.tolist() for column in mined), strict=True)
    ]
    kept = Triplets(*columns(hardest(ranked, 0.25), 3))
    loss = TripletMarginLoss(margin=0.4, distance=CosineSimilarity())
    assert made.parts["stage 1"] == pytest.approx(loss(first, labels, mined).item(), rel=1e-5)
    assert made.parts["stage 2"] == pytest.approx(loss(second, labels, kept).item(), rel=1e-5)


def test_with_proxies_the_samples_pass_whose_class_is_hardest_to_tell():
    embeddings, labels = sample()
    method = cascade(lambda size: SoftmaxLoss(3, size), stages=2, kept_share=0.3)
    made = method(nn.Identity(), (embeddings,), labels)
    first, second = method.losses()
    logits = first.get_logits(embeddings[:, :4])
    order = F.cross_entropy(logits, labels, reduction="none").argsort(descending=True)
    weights = torch.zeros(11, dtype=torch.float64)
    weights[order[:4]] = 1.0
    of_second = F.cross_entropy(second.get_logits(embeddings[:, 4:]), labels, reduction="none")
    assert made.parts["stage 2"] == pytest.approx((weights * of_second).mean().item(), rel=1e-5)


def test_a_loss_with_proxies_that_cannot_tell_classes_is_refused_in_words():
    embeddings, labels = sample()
    with pytest.raises(ValueError, match="a loss with proxies must have get_logits"):
        cascade(Untelling)(nn.Identity(), (embeddings,), labels)


def test_with_proxies_and_a_miner_only_mined_samples_can_pass():
    embeddings, labels = sample()
    method = cascade(lambda size: SoftmaxLoss(3, size), stages=2, kept_share=1.0)
    tuples = Triplets(torch.tensor([0, 0]), torch.tensor([3, 6]), torch.tensor([1, 2]))
    kept = method.hardest_tuples(embeddings[:, :4], labels, tuples, method.loss)
    assert sorted(kept.anchors.tolist()) == [0, 1, 2, 3, 6]


def test_sizes_that_do_not_divide_make_the_first_slices_longer():
    method = cascade(lambda size: ArcFaceLoss(3, size), size=11, stages=3)
    assert [loss.proxies.shape[1] for loss in method.losses()] == [4, 4, 3]
    assert set(method.parameters()) == {loss.proxies for loss in method.losses()}


def test_each_slice_gets_its_gradient_from_its_own_loss_alone():
    embeddings, labels = sample()
    embeddings.requires_grad_()
    losses = [ContrastiveLoss(neg_margin=margin) for margin in (1.0, 1.2)]
    method = cascade(lambda size: losses.pop(0), stages=2)
    stages = method.losses()
    method(nn.Identity(), (embeddings,), labels).loss.backward()
    first, second = embeddings.detach().split(4, dim=1)
    tuples = method.hardest_tuples(first, labels, None, stages[0])
    for rows, loss, given, grad in zip(
        (first, second), stages, (None, tuples), embeddings.grad.split(4, dim=1), strict=True
    ):
        rows.requires_grad_()
        loss(rows, labels, given).backward()
        torch.testing.assert_close(rows.grad, grad)


def test_an_embedding_too_short_for_its_stages_is_refused():
    with pytest.raises(ValueError, match="at least 2 numbers for each of 4 stages, 8; got 7"):
        CascadedEmbeddings(lambda size: ContrastiveLoss(), None, 7, stages=4)
