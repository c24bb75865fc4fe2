"""Distances against loops over pairs of rows, and at the places where square roots break."""

from __future__ import annotations

import math
import statistics

import pytest
import pytorch_metric_learning.distances as pml
import torch

from mlcore.distances import (
    DISTANCES,
    BatchedDistance,
    CosineSimilarity,
    DotProductSimilarity,
    LpDistance,
    SNRDistance,
    at_length_one,
)

OURS_AND_THEIRS = [
    (CosineSimilarity(), pml.CosineSimilarity()),
    (DotProductSimilarity(), pml.DotProductSimilarity()),
    (DotProductSimilarity(normalize_embeddings=False), pml.DotProductSimilarity(normalize_embeddings=False)),
    (LpDistance(), pml.LpDistance()),
    (LpDistance(normalize_embeddings=False), pml.LpDistance(normalize_embeddings=False)),
    (LpDistance(p=1), pml.LpDistance(p=1)),
    (LpDistance(p=3, power=2), pml.LpDistance(p=3, power=2)),
    (SNRDistance(), pml.SNRDistance()),
    (SNRDistance(normalize_embeddings=False, power=2), pml.SNRDistance(normalize_embeddings=False, power=2)),
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


@pytest.mark.parametrize("distance", [LpDistance(), LpDistance(power=2), CosineSimilarity()])
def test_there_is_a_second_derivative(distance):
    query, ref = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradgradcheck(distance, (query, ref))
    assert torch.autograd.gradgradcheck(distance, (query,))


@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 4)])
def test_length_one_is_normalize_with_its_gradient(shape):
    ours, theirs = (rows.requires_grad_() for rows in torch.randn(shape).mul(3.0).repeat(2, *[1] * len(shape)))
    upstream = torch.randn(shape)
    unit, expected = at_length_one(ours), torch.nn.functional.normalize(theirs, dim=-1)
    torch.testing.assert_close(unit, expected, rtol=0, atol=0)
    (unit * upstream).sum().backward()
    (expected * upstream).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@every_distance
def test_arguments_out_of_range_and_unknown_ones_are_refused(spec):
    param = spec.params[-1]
    with pytest.raises(ValueError, match=f"{param.name} must be"):
        spec.build(**{param.name: param.knob.low - 0.5})
    with pytest.raises(TypeError, match=f"Did you mean '{param.name}'"):
        spec.load()(**{param.name[:-1]: 2})


@every_distance
def test_row_by_row_is_the_diagonal(spec):
    query, ref = torch.randn(9, 6, dtype=torch.float64), torch.randn(9, 6, dtype=torch.float64)
    distance = spec.build()
    torch.testing.assert_close(distance.pairwise_distance(query, ref), distance(query, ref).diagonal())


@every_distance
def test_gradient_row_by_row_is_finite_for_identical_and_zero_rows(spec):
    rows = torch.cat([torch.randn(3, 6), torch.zeros(1, 6)]).requires_grad_()
    spec.build().pairwise_distance(rows, rows.detach()).sum().backward()
    assert torch.isfinite(rows.grad).all()


@every_distance
def test_largest_is_the_one_less_alike(spec):
    distance = spec.build()
    x, y = torch.tensor([0.1, 0.9]), torch.tensor([0.5, 0.5])
    largest, smallest = distance.largest_dist(x, y), distance.smallest_dist(x, y)
    assert (distance.margin(largest, smallest) > 0).all()
    torch.testing.assert_close(largest + smallest, x + y)


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_snr_is_the_variance_of_the_noise_over_that_of_the_signal(length):
    query, ref = length * torch.randn(5, 7), length * torch.randn(6, 7)
    expected = [
        [
            statistics.variance([a - b for a, b in zip(signal, other, strict=True)]) / statistics.variance(signal)
            for other in ref.tolist()
        ]
        for signal in query.tolist()
    ]
    mat = SNRDistance(normalize_embeddings=False)(query, ref)
    torch.testing.assert_close(mat, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_a_row_without_signal_has_a_finite_distance():
    flat, other = torch.ones(1, 4), torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    assert SNRDistance(normalize_embeddings=False)(flat, other).item() == pytest.approx(4.0)
    assert SNRDistance(normalize_embeddings=False)(torch.zeros(1, 4), other).item() == pytest.approx(4.0)


@pytest.mark.parametrize("count", [1, 64, 70])
def test_batches_join_to_the_whole_matrix(count):
    query, ref = torch.randn(count, 6), torch.randn(9, 6)
    batched = BatchedDistance(CosineSimilarity(), batch_size=32)
    torch.testing.assert_close(batched(query, ref), CosineSimilarity()(query, ref))
    torch.testing.assert_close(batched(query), CosineSimilarity()(query))
    assert batched.is_inverted


def test_blocks_are_handed_over_with_their_place():
    places = []
    batched = BatchedDistance(iter_fn=lambda mat, start, end: places.append((tuple(mat.shape), start, end)))
    assert batched(torch.randn(70, 6)) is None
    assert places == [((32, 70), 0, 32), ((32, 70), 32, 64), ((6, 70), 64, 70)]
