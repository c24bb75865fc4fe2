"""Maps: the right picture, the same picture, and no movement that isn't in the embeddings."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from mlcore import projection
from mlcore.evaluation import trustworthiness
from mlcore.projection import Pca, Umap, align, pca, true_embedding, umap_layout, warm_up


def clusters(count=400, columns=10, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    return (2 * random.normal(size=(4, columns))[labels] + random.normal(size=(count, columns))).astype(np.float32)


def unit(embeddings):
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def distance(points, others):
    return np.linalg.norm(points - others, axis=1).mean()


def turned(points, degrees, mirror=False):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[c, s], [-s, c]]) * np.array([1, -1 if mirror else 1])


@pytest.mark.parametrize("columns", [10, 200])
@pytest.mark.parametrize("dims", [2, 3])
def test_pca_is_that_of_scikit_learn_but_for_signs(columns, dims):
    embeddings = clusters(columns=columns)
    expected = PCA(dims, svd_solver="full").fit_transform(unit(embeddings))
    points = pca(embeddings, dims)
    assert (points.dtype, points.shape) == (np.float32, (400, dims))
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-4)


def test_pca_of_wide_embeddings_keeps_as_much_variance_as_the_exact_one():
    random = np.random.default_rng(0)
    spectrum = 0.97 ** np.arange(600)  # directions hard to tell apart
    embeddings = random.normal(size=(700, 600)) * spectrum
    exact = PCA(2, svd_solver="full").fit(unit(embeddings)).explained_variance_.sum()
    assert pca(embeddings).var(axis=0, ddof=1).sum() > 0.99 * exact


def test_pca_is_the_same_each_time():
    wide = clusters(columns=500)
    np.testing.assert_array_equal(pca(wide), pca(wide))


@pytest.mark.parametrize(("degrees", "mirror"), [(0, False), (180, False), (70, False), (120, True)])
def test_pca_turns_to_the_previous_layout_without_scaling(degrees, mirror):
    points = pca(clusters())
    previous = turned(points, degrees, mirror).astype(np.float32)
    np.testing.assert_allclose(pca(clusters(), 2, previous), previous, atol=1e-5)
    np.testing.assert_allclose(pca(clusters(), 2, 3 * previous), previous, atol=1e-5)


def test_pca_does_not_swap_axes_when_variances_cross():
    random = np.random.default_rng(0)
    base = random.normal(size=(500, 2))
    rest = np.full((500, 1), 10.0)
    first = pca(np.concatenate([base * [1.05, 1.0], rest], axis=1))
    second = pca(np.concatenate([base * [1.0, 1.05], rest], axis=1), 2, first)
    assert np.abs(second - first).max() < 0.1 * np.abs(first).max()


def test_pca_of_identical_or_few_embeddings_is_flat_where_nothing_spans_it():
    np.testing.assert_array_equal(pca(np.ones((20, 5))), np.zeros((20, 2)))
    np.testing.assert_array_equal(pca(np.ones((1, 5))), np.zeros((1, 2)))
    assert pca(np.ones((0, 5))).shape == (0, 2)
    assert pca(clusters(columns=2), 3)[:, 2].tolist() == [0.0] * 400


def test_pca_after_a_collapse_is_still_a_map():
    points = pca(clusters(), 2, np.zeros((400, 2)))
    np.testing.assert_allclose(points.var(axis=0).sum(), pca(clusters()).var(axis=0).sum(), rtol=1e-4)


def test_pca_remembers_its_last_layout():
    projector = Pca(dims=2)
    first = projector.layout(clusters())
    projector.previous = turned(first, 90).astype(np.float32)
    np.testing.assert_allclose(projector.layout(clusters()), turned(first, 90), atol=1e-5)


@pytest.mark.parametrize("mirror", [False, True])
def test_align_undoes_turn_mirror_move_and_scale(mirror):
    previous = pca(clusters())
    moved = 7 * turned(previous, 50, mirror) + [3, -2]
    np.testing.assert_allclose(align(moved, previous), previous, atol=1e-5)


def test_align_in_three_dimensions_undoes_a_turn():
    previous = pca(clusters(), 3)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    np.testing.assert_allclose(align(previous @ turn, previous), previous, atol=1e-5)


def test_a_map_aligned_often_does_not_shrink():
    random = np.random.default_rng(0)
    first = layout = random.normal(size=(300, 2)).astype(np.float32)
    for _ in range(50):
        layout = align(layout + random.normal(size=layout.shape), layout)
    assert layout.std() == pytest.approx(first.std(), rel=0.05)


def test_align_of_points_on_one_spot_only_moves_them():
    previous = np.array([[4.0, 5.0], [6.0, 7.0]])
    np.testing.assert_allclose(align(np.ones((2, 2)), previous), [[5, 6], [5, 6]])
    np.testing.assert_allclose(align(previous, np.ones((2, 2))), [[0, 0], [2, 2]])


def test_straight_is_the_unit_circle_or_sphere():
    assert true_embedding([[3, 4]])[0].tolist() == pytest.approx([0.6, 0.8])
    with pytest.raises(ValueError, match="2 or 3 columns; got 4"):
        true_embedding(np.ones((5, 4)))


@pytest.mark.parametrize("project", [pca, umap_layout])
def test_a_previous_layout_of_other_points_is_refused(project):
    with pytest.raises(ValueError, match="same points, shape"):
        project(clusters(), previous=np.zeros((399, 2)))


@pytest.mark.parametrize("project", [pca, umap_layout])
def test_nan_is_refused(project):
    embeddings = clusters()
    embeddings[7, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 400 rows"):
        project(embeddings)


def test_umap_of_fewer_than_16_points_is_refused():
    with pytest.raises(ValueError, match="more than 15 points; got 15"):
        umap_layout(clusters(15))


def test_umap_of_identical_embeddings_is_one_point_where_the_map_was():
    np.testing.assert_array_equal(umap_layout(np.ones((30, 4))), np.zeros((30, 2)))
    previous = np.arange(60.0).reshape(30, 2)
    np.testing.assert_array_equal(umap_layout(np.ones((30, 4)), previous), [[29, 30]] * 30)


def test_importing_the_module_imports_neither_umap_nor_torch():
    code = (
        "import sys, mlcore.projection; print([n for n in ('umap', 'numba', 'torch', 'sklearn') if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def digits():
    """Digits, their cold layout, and the same digits as they look a little later in training."""
    warm_up()
    before = load_digits().data[:600]
    after = before @ (np.eye(64) + 0.05 * np.random.default_rng(0).normal(size=(64, 64)))
    return before, umap_layout(before), after


@pytest.mark.slow
def test_umap_keeps_neighbours_cold_and_warm(digits):
    before, layout, after = digits
    update = umap_layout(after, layout)
    assert (update.dtype, update.shape) == (np.float32, (600, 2))
    assert trustworthiness(before, layout) > 0.95
    assert trustworthiness(after, update) > 0.95


@pytest.mark.slow
def test_umap_moves_less_from_the_previous_layout_than_from_scratch(digits):
    """How far one layout from scratch lands from another is chance (a third of the map's spread to all of it), and the
    last bit of a product, another on each processor, draws it anew: what holds everywhere is the mean of several."""
    _, layout, after = digits
    moved = [distance(umap_layout(after, layout, seed=seed), layout) for seed in range(5)]
    moved_from_scratch = [distance(align(umap_layout(after, seed=seed), layout), layout) for seed in range(1, 6)]
    assert np.mean(moved) < 0.5 * np.mean(moved_from_scratch)


@pytest.mark.slow
def test_umap_is_the_same_for_the_same_seed(digits):
    _, layout, after = digits
    update = umap_layout(after, layout, seed=5)
    np.testing.assert_array_equal(umap_layout(after, layout, seed=5), update)
    assert not np.array_equal(umap_layout(after, layout, seed=6), update)


@pytest.mark.slow
def test_umap_keeps_place_and_size_over_many_updates(digits):
    before, layout, after = digits
    last = layout
    for step in range(6):
        last = umap_layout(after if step % 2 == 0 else before, last)
    np.testing.assert_allclose(last.mean(axis=0), layout.mean(axis=0), atol=1e-3)
    assert last.std() == pytest.approx(layout.std(), rel=0.02)


@pytest.mark.slow
def test_umap_stands_duplicates_and_a_collapsed_previous_layout(digits):
    before, _, _ = digits
    layout = umap_layout(np.repeat(before[:30], 20, axis=0), np.zeros((600, 2)), epochs=30)
    assert np.isfinite(layout).all()
    assert trustworthiness(before, umap_layout(before, np.zeros((600, 2)))) > 0.95


@pytest.mark.slow
def test_umap_in_three_dimensions_remembers_its_last_layout(digits):
    before, _, after = digits
    projector = Umap(dims=3, seed=2)
    first = projector.layout(before)
    assert first.shape == (600, 3)
    np.testing.assert_array_equal(projector.layout(after), umap_layout(after, first, 2, dims=3))


def test_what_a_layout_needs_is_compiled_once_on_a_machine():
    umap_, layouts = projection._umap()
    for compiled in (umap_.smooth_knn_dist, layouts._nb_optimize_layout_euclidean_single_epoch):
        assert compiled.stats.cache_path, "it is compiled anew in every process"


def test_others_are_placed_among_what_they_are_like_and_the_map_stays() -> None:
    embeddings = np.array([[1, 0, 0], [0.99, 0.1, 0], [0, 1, 0], [0, 0.99, 0.1], [0, 0, 1], [0.1, 0, 0.99]], np.float32)
    points = np.array([[0, 0], [1, 0], [10, 0], [11, 0], [0, 10], [1, 10]], np.float32)
    places = projection.place_among(points, embeddings, np.array([[2.0, 0.1, 0], [0, 0, 3]], np.float32))
    assert np.linalg.norm(places[0] - [0.5, 0]) < 1
    assert np.linalg.norm(places[1] - [0.5, 10]) < 1
