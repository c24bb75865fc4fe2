"""Smooth-AP against its paper, item by item, and against pytorch-metric-learning where that is right."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.distances import LpDistance
from mlcore.losses import SmoothAPLoss, soft_ranks
from mlcore.miners import BatchHardMiner
from mlcore.tuples import label_masks


def step(lead, temperature):
    return 1.0 / (1.0 + math.exp(min(-lead / temperature, 700.0)))


def by_hand(embeddings, labels, temperature, with_anchor=False):
    """Equation 5 of arXiv:2007.12163. With the anchor in its own list it is what the authors' code computes."""
    losses = []
    for a, anchor in enumerate(embeddings):
        listed = [i for i in range(len(embeddings)) if with_anchor or i != a]
        score = {i: F.cosine_similarity(anchor, embeddings[i], dim=0).item() for i in listed}
        mates = [i for i in listed if labels[i] == labels[a]]
        if not mates:
            continue
        precision = 0.0
        for p in mates:
            among_mates = 1 + sum(step(score[i] - score[p], temperature) for i in mates if i != p)
            among_all = 1 + sum(step(score[i] - score[p], temperature) for i in listed if i != p)
            precision += among_mates / among_all
        losses.append(1 - precision / len(mates))
    return sum(losses) / len(losses)


def sample(seed, count=12, classes=4):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(classes, (count,))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_matches_the_paper(temperature, seed):
    embeddings, labels = sample(seed)
    value = SmoothAPLoss(temperature=temperature)(embeddings, labels)
    assert value.item() == pytest.approx(by_hand(embeddings, labels, temperature), abs=1e-12)


def test_a_wrong_order_of_three_has_the_known_precision():
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 30.0], dtype=torch.float64))
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    value = SmoothAPLoss(temperature=0.001)(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(0.5)  # the stranger stands first in both lists: precision one half


def test_pytorch_metric_learning_counts_the_anchor_and_is_right_for_as_many_classes_as_samples_of_each():
    torch.manual_seed(3)
    embeddings, labels = torch.randn(16, 4), torch.arange(4).repeat_interleave(4)
    theirs = pml.SmoothAPLoss(temperature=0.1)(embeddings, labels)
    assert theirs.item() == pytest.approx(by_hand(embeddings, labels, 0.1, with_anchor=True), abs=1e-6)
    embeddings, labels = torch.randn(8, 4), torch.arange(4).repeat_interleave(2)
    wrong = pml.SmoothAPLoss(temperature=0.1)(embeddings, labels)
    assert wrong.item() != pytest.approx(by_hand(embeddings, labels, 0.1, with_anchor=True), abs=1e-2)


def test_a_reference_is_the_list():
    embeddings, labels = sample(4)
    whole = SmoothAPLoss(temperature=0.1)
    rest = torch.arange(1, len(labels))
    alone = whole(embeddings[:1], labels[:1], ref_emb=embeddings[rest], ref_labels=labels[rest])
    assert alone.item() == pytest.approx(first_anchor(embeddings, labels), abs=1e-12)


def first_anchor(embeddings, labels):
    """The loss of the first anchor, as its share of all anchors' losses."""
    positive, negative = label_masks(labels)
    lists = SmoothAPLoss(temperature=0.1)
    pairs = (*positive[:1].nonzero(as_tuple=True), *negative[:1].nonzero(as_tuple=True))
    return lists(embeddings, labels, pairs).item()


def test_tuples_say_who_stands_in_the_list():
    embeddings, labels = sample(5)
    mined = BatchHardMiner()(embeddings, labels)
    expected = []
    for a, p, n in zip(*mined, strict=True):
        lead = F.cosine_similarity(embeddings[a], embeddings[n], dim=0)
        lead -= F.cosine_similarity(embeddings[a], embeddings[p], dim=0)
        expected.append(1 - 1 / (1 + step(lead.item(), 0.01)))
    value = SmoothAPLoss()(embeddings, labels, mined).item()
    assert value == pytest.approx(sum(expected) / len(expected))


def test_blocks_do_not_change_value_or_gradient(monkeypatch):
    embeddings, labels = sample(6, 30)
    found = []
    for block in (2**18, 64, 1):
        monkeypatch.setattr(soft_ranks, "BLOCK", block)
        leaf = embeddings.clone().requires_grad_()
        value = SmoothAPLoss(temperature=0.1)(leaf, labels)
        value.backward()
        found.append((value.detach(), leaf.grad))
    for value, gradient in found[1:]:
        torch.testing.assert_close(value, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])


def test_ranks_have_the_gradient_that_autograd_finds():
    embeddings, labels = sample(7, 10)
    mat = (embeddings @ embeddings.T).requires_grad_()
    positive, negative = label_masks(labels)
    _, among_positives, among_negatives = soft_ranks.soft_ranks(mat, positive, negative, 0.3)
    weights = torch.randn(2, len(among_positives), dtype=torch.float64)
    (ours,) = torch.autograd.grad((weights[0] * among_positives + weights[1] * among_negatives).sum(), mat)
    anchors, positives = positive.nonzero(as_tuple=True)
    lead = ((mat[anchors] - mat[anchors, positives][:, None]) / 0.3).sigmoid()
    plain = weights[0][:, None] * lead * positive[anchors] + weights[1][:, None] * lead * negative[anchors]
    (theirs,) = torch.autograd.grad(plain.sum(), mat)
    torch.testing.assert_close(ours, theirs)


def test_other_distances_are_refused():
    with pytest.raises(ValueError, match="must be CosineSimilarity"):
        SmoothAPLoss(distance=LpDistance())
