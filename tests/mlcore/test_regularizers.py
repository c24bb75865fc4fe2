"""Regularizers against their equations, against pytorch-metric-learning, and as arguments of losses."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import pytorch_metric_learning.losses as pml_losses
import pytorch_metric_learning.regularizers as pml
import torch

from mlcore import regularizers
from mlcore.losses import LOSSES, ContrastiveLoss, CosFaceLoss, NormalizedSoftmaxLoss, SupConLoss
from mlcore.reducers import DoNothingReducer, SumReducer
from mlcore.regularizers import (
    REGULARIZERS,
    CenterInvariantRegularizer,
    LpRegularizer,
    ProxyOrthogonalityRegularizer,
    RegularFaceRegularizer,
    SparseCentersRegularizer,
    ZeroMeanRegularizer,
)

SIZES = {"num_classes": 4, "centers_per_class": 3, "embedding_size": 5}
every_regularizer = pytest.mark.parametrize("spec", REGULARIZERS.values(), ids=REGULARIZERS.keys())


def rows(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(12, 5, dtype=dtype)


def dot(one, other):
    return sum(x * y for x, y in zip(one, other, strict=True))


def cosine(one, other):
    return dot(one, other) / math.sqrt(dot(one, one) * dot(other, other))


def by_hand(key, points):
    count, squares = len(points), [dot(point, point) for point in points]
    if key == "lp":
        return sum(math.sqrt(square) for square in squares) / count
    if key == "zero_mean":
        return sum(abs(sum(point)) for point in points) / count
    if key == "center_invariant":
        return sum((square - sum(squares) / count) ** 2 / 4 for square in squares) / count
    if key == "regular_face":
        nearest = [max(cosine(points[i], points[j]) for j in range(count) if j != i) for i in range(count)]
        return sum(nearest) / count
    if key == "sparse_centers":
        pairs = [pair for c in range(4) for pair in itertools.combinations(points[3 * c : 3 * c + 3], 2)]
        return sum(math.sqrt(2 - 2 * cosine(*pair)) for pair in pairs) / (4 * 3 * 2)
    lengths = sum((1 - square) ** 2 for square in squares) / count
    return lengths + sum(dot(*pair) ** 2 for pair in itertools.combinations(points, 2)) / (2 * (count - 1))


@every_regularizer
def test_matches_its_equation(spec):
    assert spec.build(SIZES)(rows()).item() == pytest.approx(by_hand(spec.key, rows().tolist()))


@every_regularizer
def test_gradient_is_that_of_the_value(spec):
    assert torch.autograd.gradcheck(spec.build(SIZES), rows().requires_grad_())


@every_regularizer
@pytest.mark.parametrize("pose", [torch.zeros, torch.ones])
def test_gradient_is_finite_for_zero_and_identical_rows(spec, pose):
    leaf = pose(12, 5).requires_grad_()
    spec.build(SIZES)(leaf).backward()
    assert torch.isfinite(leaf.grad).all()


@every_regularizer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(spec, dtype):
    half, regularizer = rows(dtype).requires_grad_(), spec.build(SIZES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = regularizer(half)
    value.backward()
    torch.testing.assert_close(value, regularizer(half.detach().float()))
    assert half.grad.dtype == dtype


@every_regularizer
def test_declaration_and_refusals(spec):
    assert spec.formula
    assert "What to expect: " in spec.description
    assert all(param.knob.symbol in spec.formula for param in spec.params)
    for wrong in (torch.randn(5), torch.empty(0, 5), torch.ones(12, 5, dtype=torch.long)):
        with pytest.raises(ValueError, match="must be given rows of shape"):
            spec.build(SIZES)(wrong)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LpRegularizer(), pml.LpRegularizer()),
        (LpRegularizer(p=1, power=2), pml.LpRegularizer(p=1, power=2)),
        (ZeroMeanRegularizer(), pml.ZeroMeanRegularizer()),
        (CenterInvariantRegularizer(), pml.CenterInvariantRegularizer()),
        (RegularFaceRegularizer(), pml.RegularFaceRegularizer()),
        (SparseCentersRegularizer(4, 3), pml.SparseCentersRegularizer(4, 3)),
    ],
)
def test_matches_pytorch_metric_learning(ours, theirs):
    torch.testing.assert_close(ours(rows()), theirs(rows()), rtol=1e-4, atol=0.0)  # theirs adds a little under roots


def test_nearest_proxies_are_found_block_by_block(monkeypatch):
    whole = RegularFaceRegularizer()(rows())
    monkeypatch.setattr(regularizers, "BLOCK", 30)
    torch.testing.assert_close(RegularFaceRegularizer()(rows()), whole)
    assert RegularFaceRegularizer()(rows()[:1]).item() == 0.0


def test_orthogonal_proxies_lose_nothing():
    assert ProxyOrthogonalityRegularizer()(torch.eye(5)).item() == pytest.approx(0.0)


def test_centres_by_class_or_one_after_the_other_are_the_same():
    regularizer = SparseCentersRegularizer(4, 3)
    torch.testing.assert_close(regularizer(rows().view(4, 3, 5)), regularizer(rows()))
    with pytest.raises(ValueError, match="4 x 3 centres; got 11"):
        regularizer(rows()[1:])
    with pytest.raises(ValueError, match="must be at least 2"):
        SparseCentersRegularizer(4, 1)


def batch():
    return rows(), torch.arange(12) % 4


def test_a_loss_grows_by_its_regularizers_times_their_weights():
    embeddings, labels = batch()
    torch.manual_seed(1)
    plain = NormalizedSoftmaxLoss(4, 5).double()
    torch.manual_seed(1)
    loss = NormalizedSoftmaxLoss(
        4,
        5,
        embedding_regularizer=LpRegularizer(),
        embedding_reg_weight=0.3,
        weight_regularizer=RegularFaceRegularizer(),
        weight_reg_weight=0.2,
    ).double()
    added = 0.3 * LpRegularizer()(embeddings) + 0.2 * RegularFaceRegularizer()(loss.proxies)
    torch.testing.assert_close(loss(embeddings, labels), plain(embeddings, labels) + added)
    torch.testing.assert_close(copy.deepcopy(loss)(embeddings, labels), loss(embeddings, labels))
    assert loss.state_dict().keys() == plain.state_dict().keys()


def test_matches_pytorch_metric_learning_as_arguments_of_a_loss():
    embeddings, labels = batch()
    ours = ContrastiveLoss(embedding_regularizer=LpRegularizer(power=2), embedding_reg_weight=0.1)
    theirs = pml_losses.ContrastiveLoss(embedding_regularizer=pml.LpRegularizer(power=2), embedding_reg_weight=0.1)
    torch.testing.assert_close(ours(embeddings, labels), theirs(embeddings, labels))


def test_unreduced_parts_get_them_by_name():
    embeddings, labels = batch()
    loss = CosFaceLoss(
        4,
        5,
        reducer=DoNothingReducer(),
        embedding_regularizer=ZeroMeanRegularizer(reducer=SumReducer()),
        weight_regularizer=CenterInvariantRegularizer(),
    ).double()
    parts = loss(embeddings=embeddings, labels=labels)
    assert list(parts)[-2:] == ["embedding_reg_loss", "weight_reg_loss"]
    torch.testing.assert_close(parts["embedding_reg_loss"], embeddings.sum(dim=1).abs().sum())


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss_takes_them(spec):
    embeddings, labels = batch()
    leaf = embeddings.requires_grad_()
    sizes = {name: SIZES[name] for name in spec.sizes}
    torch.manual_seed(1)
    plain = spec.load()(**sizes).double()(leaf, labels)
    torch.manual_seed(1)
    grown = spec.load()(**sizes, embedding_regularizer=LpRegularizer(), embedding_reg_weight=0.5).double()(leaf, labels)
    torch.testing.assert_close(grown, plain + 0.5 * LpRegularizer()(embeddings))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="has no proxies that weight_regularizer could be about"):
        SupConLoss(weight_regularizer=RegularFaceRegularizer())
    with pytest.raises(ValueError, match="must be a regularizer"):
        SupConLoss(embedding_regularizer="lp")
    with pytest.raises(ValueError, match="embedding_reg_weight must be a number, at least 0"):
        SupConLoss(embedding_regularizer=LpRegularizer(), embedding_reg_weight=-1.0)
    with pytest.raises(TypeError, match="there is no argument"):
        SupConLoss(embedding_regularizers=LpRegularizer())
