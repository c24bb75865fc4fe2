"""PNP in all its variants against its paper, item by item, and against pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F

from mlcore.losses import PNPLoss

VARIANTS = ("O", "Ds", "Dq", "Iu", "Ib")


def penalty(before, variant, b, alpha):
    """Equations 6 to 12 of arXiv:2102.04640."""
    return {
        "O": before,
        "Ds": math.log(1 + before),
        "Dq": 1 - 1 / (1 + before) ** alpha,
        "Iu": (1 + before) * math.log(1 + before),
        "Ib": (b * before - math.log(1 + b * before)) / b**2,
    }[variant]


def by_hand(embeddings, labels, variant, *, b=2.0, alpha=1.0, anneal=0.01, with_anchor=False):
    """Mean over the anchors with a positive; with the anchor among its positives it is their code."""
    losses = []
    for a, anchor in enumerate(embeddings):
        score = [F.cosine_similarity(anchor, other, dim=0).item() for other in embeddings]
        mates = [i for i in range(len(score)) if labels[i] == labels[a] and i != a]
        strangers = [i for i in range(len(score)) if labels[i] != labels[a]]
        if mates:
            mates += [a] if with_anchor else []
            before = [sum(1 / (1 + math.exp(-(score[n] - score[p]) / anneal)) for n in strangers) for p in mates]
            losses.append(sum(penalty(count, variant, b, alpha) for count in before) / len(mates))
    return sum(losses) / len(losses)


def sample(seed, count=12):
    torch.manual_seed(seed)
    return torch.randn(count, 4, dtype=torch.float64), torch.randint(4, (count,))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("knobs", [{}, {"anneal": 0.2, "b": 0.5, "alpha": 4.0}], ids=["defaults", "others"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_matches_the_paper(variant, knobs, seed):
    embeddings, labels = sample(seed)
    value = PNPLoss(variant=variant, **knobs)(embeddings, labels)
    assert value.item() == pytest.approx(by_hand(embeddings, labels, variant, **knobs), abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pytorch_metric_learning_differs_by_the_anchor_alone(variant):
    embeddings, labels = sample(2)
    theirs = pml.PNPLoss(variant=variant, anneal=0.1)(embeddings, labels)
    assert theirs.item() == pytest.approx(by_hand(embeddings, labels, variant, anneal=0.1, with_anchor=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_that_of_the_value_in_every_variant(variant):
    embeddings, labels = sample(3, 8)
    loss = PNPLoss(variant=variant, anneal=0.2)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels), embeddings.requires_grad_())


def test_two_strangers_before_a_class_mate_cost_what_the_variants_say():
    angles = torch.deg2rad(torch.tensor([0.0, 80.0, 20.0, -20.0], dtype=torch.float64))
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    listed = (torch.tensor([0]), torch.tensor([1]), torch.tensor([0, 0]), torch.tensor([2, 3]))
    for variant, cost in {"O": 2.0, "Ds": math.log(3), "Dq": 2 / 3, "Iu": 3 * math.log(3)}.items():
        assert PNPLoss(variant=variant)(embeddings, None, listed).item() == pytest.approx(cost)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant must be one of O, Ds, Dq, Iu, Ib"):
        PNPLoss(variant="Du")
