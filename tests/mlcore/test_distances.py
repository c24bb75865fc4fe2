"""Distances against loops over pairs of rows, and at the places where square roots break."""

from __future__ import annotations

import math

import pytest
import pytorch_metric_learning.distances as pml
import torch

from mlcore.distances import DISTANCES, CosineSimilarity, DotProductSimilarity, LpDistance

OURS_AND_THEIRS = [
    (CosineSimilarity(), pml.CosineSimilarity()),
    (DotProductSimilarity(), pml.DotProductSimilarity()),
    (DotProductSimilarity(normalize_embeddings=False), pml.DotProductSimilarity(normalize_embeddings=False)),
    (LpDistance(), pml.LpDistance()),
    (LpDistance(normalize_embeddings=False), pml.LpDistance(normalize_embeddings=False)),
    (LpDistance(p=1), pml.LpDistance(p=1)),
    (LpDistance(p=3, power=2), pml.LpDistance(p=3, power=2)),
]
every_distance = pytest.mark.parametrize("spec", DISTANCES.values(), ids=DISTANCES.keys())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(("ours", "theirs"), OURS_AND_THEIRS)
@pytest.mark.parametrize("rows", [5, 40], ids=["few rows", "many rows"])
def test_matrix_is_that_of_pytorch_metric_learning_off_the_diagonal(ours, theirs, rows):
    query, ref = torch.randn(rows, 6, dtype=torch.float64), torch.randn(rows + 3, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(query, ref), theirs(query, ref))
    off = ~torch.eye(rows, dtype=torch.bool)
    torch.testing.assert_close(ours(query)[off], theirs(query)[off])
    assert ours.is_inverted == theirs.is_inverted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_euclidean_distance_matches_a_loop(dtype):
    query, ref = torch.randn(30, 6, dtype=dtype), torch.randn(31, 6, dtype=dtype)
    expected = [[math.dist(left, right) for right in ref.tolist()] for left in query.tolist()]
    mat = LpDistance(normalize_embeddings=False)(query, ref)
    torch.testing.assert_close(mat, torch.tensor(expected, dtype=dtype), rtol=1e-4, atol=0.0)


def test_known_vectors_have_the_known_distances():
    left, right = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    assert CosineSimilarity()(left, right).item() == pytest.approx(0.96)
    assert DotProductSimilarity(normalize_embeddings=False)(left, right).item() == pytest.approx(24.0)
    assert LpDistance(normalize_embeddings=False)(left, right).item() == pytest.approx(math.sqrt(2))
    assert LpDistance(normalize_embeddings=False, p=1)(left, right).item() == pytest.approx(2.0)
    assert LpDistance()(left, right).item() == pytest.approx(math.sqrt(0.08), rel=1e-5)


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("rows", [4, 40], ids=["few rows", "many rows"])
def test_identical_rows_are_zero_apart_and_pass_a_zero_gradient(rows, length):
    embeddings = (torch.randn(1, 16) * length).repeat(rows, 1).requires_grad_()
    mat = LpDistance(normalize_embeddings=False)(embeddings)
    mat.sum().backward()
    assert mat.abs().max() == 0.0
    assert embeddings.grad.abs().max() == 0.0


@every_distance
@pytest.mark.parametrize("rows", [4, 40], ids=["few rows", "many rows"])
def test_gradient_is_finite_for_identical_opposite_and_zero_rows(spec, rows):
    row = torch.randn(1, 8)
    embeddings = torch.cat([row.repeat(rows, 1), -row, torch.zeros(2, 8)]).requires_grad_()
    spec.build()(embeddings).sum().backward()
    assert torch.isfinite(embeddings.grad).all()


@every_distance
def test_margin_is_positive_when_the_second_is_more_alike(spec):
    distance = spec.build()
    anchor, near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.1]]), torch.tensor([[0.0, 1.0]])
    assert distance.margin(distance(anchor, far), distance(anchor, near)).item() > 0
    closest = distance.smallest_dist(distance(anchor, far), distance(anchor, near))
    assert closest.item() == distance(anchor, near).item()
    assert distance.is_inverted == (spec.family == "similarity")


@every_distance
def test_gradient_is_that_of_the_value(spec):
    query, ref = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(spec.build(), (query, ref))


@every_distance
def test_powers_below_one_and_unknown_arguments_are_refused(spec):
    with pytest.raises(ValueError, match="power must be a number between 1 and 4"):
        spec.build(power=0.5)
    with pytest.raises(TypeError, match="Did you mean 'power'"):
        spec.load()(powr=2.0)
