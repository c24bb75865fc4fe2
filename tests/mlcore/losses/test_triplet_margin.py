"""Triplet margin loss against a triple loop, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml_distances
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore import tuples
from mlcore.distances import CosineSimilarity, LpDistance
from mlcore.losses import TripletMarginLoss, all_triplets
from mlcore.miners import BatchHardMiner, MultiSimilarityMiner, TripletMarginMiner
from mlcore.reducers import DoNothingReducer, MeanReducer, SumReducer

SHAPES = [(False, False), (False, True), (True, False), (True, True)]  # swap, smooth


def by_hand(embeddings, labels, reference, ref_labels, margin, swap, smooth):
    """Every (a, p, n), one at a time; positives and negatives from the reference, or the batch where it is None."""
    own = reference is None
    unit = F.normalize(embeddings).tolist()
    other = unit if own else F.normalize(reference).tolist()
    other_labels = labels if own else ref_labels
    losses = []
    for a, anchor in enumerate(unit):
        for p, positive in enumerate(other):
            for n, negative in enumerate(other):
                if (own and p == a) or other_labels[p] != labels[a] or other_labels[n] == labels[a]:
                    continue
                to_negative = math.dist(anchor, negative)
                if swap:
                    to_negative = min(to_negative, math.dist(positive, negative))
                violation = math.dist(anchor, positive) - to_negative + margin
                losses.append(math.log1p(math.exp(violation)) if smooth else max(0.0, violation))
    return losses


def sample(seed, count=12, classes=3):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize(("swap", "smooth"), SHAPES)
@pytest.mark.parametrize("margin", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_a_triple_loop(margin, swap, smooth, seed):
    embeddings, labels = sample(seed)
    losses = by_hand(embeddings, labels, None, None, margin, swap, smooth)
    options = {"margin": margin, "swap": swap, "smooth_loss": smooth}
    violating = sum(item > 0 for item in losses)
    assert TripletMarginLoss(**options)(embeddings, labels).item() == pytest.approx(sum(losses) / violating)
    mean = TripletMarginLoss(**options, reducer=MeanReducer())(embeddings, labels)
    assert mean.item() == pytest.approx(sum(losses) / len(losses))
    total = TripletMarginLoss(**options, reducer=SumReducer())(embeddings, labels)
    assert total.item() == pytest.approx(sum(losses))


@pytest.mark.parametrize(("swap", "smooth"), SHAPES)
def test_reference_and_swap_take_the_negative_from_the_reference(swap, smooth):
    embeddings, labels = sample(2, 5)
    reference, ref_labels = sample(3, 17)  # positions beyond the batch: pytorch-metric-learning's issue 748
    losses = by_hand(embeddings, labels, reference, ref_labels, 0.3, swap, smooth)
    loss = TripletMarginLoss(margin=0.3, swap=swap, smooth_loss=smooth, reducer=MeanReducer())
    value = loss(embeddings, labels, ref_emb=reference, ref_labels=ref_labels)
    assert value.item() == pytest.approx(sum(losses) / len(losses))
    mined = TripletMarginMiner(margin=2.0)(embeddings, labels, reference, ref_labels)
    mined_value = loss(embeddings, labels, mined, reference, ref_labels)
    assert mined_value.item() == pytest.approx(sum(losses) / len(losses))


def test_triplets_exactly_on_the_margin_lose_nothing_and_are_not_counted():
    embeddings, labels = torch.eye(3)[torch.tensor([0, 1, 1, 2, 0])], torch.tensor([0, 0, 1, 1, 1])
    losses = by_hand(embeddings, labels, None, None, 0.0, False, False)
    violating = sum(item > 1e-6 for item in losses)
    assert 0 < violating < len(losses)
    assert TripletMarginLoss(margin=0.0)(embeddings, labels).item() == pytest.approx(sum(losses) / violating)


def test_known_angles_give_the_known_number():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, math.sqrt(0.75)]])
    value = TripletMarginLoss(margin=0.05)(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(0.705395, abs=1e-5)  # sqrt(2) + 0.05 - (1 + 2 sin 15deg) / 2


@pytest.mark.parametrize(("swap", "smooth"), SHAPES)
@pytest.mark.parametrize("miner", [None, BatchHardMiner(), MultiSimilarityMiner()])
def test_value_and_gradient_match_pytorch_metric_learning(miner, swap, smooth):
    embeddings, labels = sample(4, 40)
    mined = miner and miner(embeddings, labels)
    gradients = []
    for cls in (TripletMarginLoss, pml.TripletMarginLoss):
        leaf = embeddings.clone().requires_grad_()
        value = cls(margin=0.2, swap=swap, smooth_loss=smooth)(leaf, labels, mined)
        value.backward()
        gradients.append((value.detach(), leaf.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_matches_pytorch_metric_learning_with_other_distances(power):
    embeddings, labels = sample(5, 30)
    ours = TripletMarginLoss(distance=LpDistance(power=power))
    theirs = pml.TripletMarginLoss(distance=pml_distances.LpDistance(power=power))
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))
    ours = TripletMarginLoss(distance=CosineSimilarity(), swap=True)
    theirs = pml.TripletMarginLoss(distance=pml_distances.CosineSimilarity(), swap=True)
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))


@pytest.mark.parametrize(("swap", "smooth"), SHAPES)
def test_blocks_of_any_size_give_the_same_value_and_gradient(swap, smooth, monkeypatch):
    embeddings, labels = sample(6, 30)
    results = []
    for block in (2**18, 90, 1):
        monkeypatch.setattr(all_triplets, "BLOCK", block)
        leaf = embeddings.clone().requires_grad_()
        value = TripletMarginLoss(swap=swap, smooth_loss=smooth)(leaf, labels)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])


@pytest.mark.parametrize(("swap", "smooth"), SHAPES)
def test_gradient_is_that_of_the_value(swap, smooth):
    embeddings, labels = sample(7, 9)
    loss = TripletMarginLoss(margin=0.2, swap=swap, smooth_loss=smooth)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels), embeddings.requires_grad_())
    reference, ref_labels = sample(8, 10)
    assert torch.autograd.gradcheck(
        lambda rows, others: loss(rows, labels, None, others, ref_labels), (embeddings, reference.requires_grad_())
    )


def test_single_precision_keeps_six_digits_over_two_million_triplets():
    torch.manual_seed(9)
    embeddings, labels = torch.randn(256, 32), torch.arange(256) % 6
    single, double = (TripletMarginLoss()(rows, labels).item() for rows in (embeddings, embeddings.double()))
    assert single == pytest.approx(double, rel=2e-6)


def test_the_smooth_loss_says_that_it_has_no_second_derivative_and_where_to_get_one():
    embeddings, labels = sample(10)
    embeddings.requires_grad_()
    loss = TripletMarginLoss(smooth_loss=True, reducer=MeanReducer())
    value = loss(embeddings, labels)
    with pytest.raises(RuntimeError, match="has no second derivative"):
        torch.autograd.grad(value, embeddings, create_graph=True)
    listed = loss(embeddings, labels, tuples.all_triplets(labels))
    (gradient,) = torch.autograd.grad(listed, embeddings, create_graph=True)
    torch.testing.assert_close(gradient.detach(), torch.autograd.grad(value, embeddings)[0])


def test_items_stand_in_the_order_of_all_triplets():
    embeddings, labels = sample(11)
    items = TripletMarginLoss(reducer=DoNothingReducer())(embeddings, labels)["loss"]
    assert items.tolist() == pytest.approx(by_hand(embeddings, labels, None, None, 0.05, False, False))


def test_ready_made_triplets_need_no_labels():
    embeddings, labels = sample(12)
    mined = BatchHardMiner()(embeddings, labels)
    loss = TripletMarginLoss()
    torch.testing.assert_close(loss(embeddings, indices_tuple=mined), loss(embeddings, labels, mined))


def test_margin_is_drawn_as_a_distance_beyond_the_positive_pairs():
    (line,) = TripletMarginLoss(margin=1.0).margin_lines()
    assert line.place(0.0) == pytest.approx(math.pi / 3)
    assert line.place(math.pi) == math.pi
    assert TripletMarginLoss(distance=CosineSimilarity()).margin_lines() == ()


@pytest.mark.parametrize(("swap", "smooth"), SHAPES)
@pytest.mark.parametrize("repeats", [0, 3])
def test_pairs_lose_what_the_triplets_joined_from_them_lose(swap, smooth, repeats):
    embeddings, labels = sample(13)
    pairs = MultiSimilarityMiner(epsilon=0.3)(embeddings, labels)
    again = tuples.Pairs(*(torch.cat([column, column[:repeats]]) for column in pairs))
    loss = TripletMarginLoss(swap=swap, smooth_loss=smooth, reducer=SumReducer())
    torch.testing.assert_close(loss(embeddings, labels, again), loss(embeddings, labels, tuples.to_triplets(again)))
