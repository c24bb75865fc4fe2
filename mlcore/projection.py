"""From embeddings to points on a map: principal components at once, UMAP when there is time, and no needless movement.

Every layout can be given the one before it, and then comes out turned to it, so that what moves on the map moved in
the embedding space. Embeddings are L2-normalised first, as the losses and the search see them.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

from mlcore.evaluation.array_checks import finite_rows, unit_rows
from mlcore.evaluation.knn import knn

NEIGHBOURS = 15  # with the point itself, as umap counts
SPREAD, MIN_DIST = 1.0, 0.1


class Effort(NamedTuple):
    """How hard umap's optimiser works: passes over the edges, length of the first step, others pushed away per edge."""

    epochs: int
    step: float
    negatives: float


COLD = Effort(200, 1.0, 5.0)
# A warm start is nearly right: umap's own step of 1 would shake it apart, and few epochs couldn't mend that.
WARM = Effort(50, 0.5, 5.0)
WARM_LARGE, LARGE = Effort(20, 0.15, 3.0), 5000
# Numba aborts the process if two threads enter its parallel code.
ONE_AT_A_TIME = threading.Lock()


@dataclass
class Pca:
    """Principal components that remember their last layout, so that the map doesn't flip."""

    dims: int = 2
    previous: np.ndarray | None = None

    def layout(self, embeddings: np.ndarray) -> np.ndarray:
        """Return points (N, dims) float32; see `pca`."""
        self.previous = pca(embeddings, self.dims, self.previous)
        return self.previous


@dataclass
class Umap:
    """UMAP that starts from its last layout."""

    dims: int = 2
    seed: int = 0
    previous: np.ndarray | None = None

    def layout(self, embeddings: np.ndarray) -> np.ndarray:
        """Return points (N, dims) float32; see `umap_layout`."""
        self.previous = umap_layout(embeddings, self.previous, self.seed, dims=self.dims)
        return self.previous


def true_embedding(embeddings: np.ndarray) -> np.ndarray:
    """Return a true 2-D or 3-D embedding as its own map, (N, D) float32 on the unit circle or sphere."""
    points = unit_rows(embeddings, "straight")
    if points.shape[1] not in (2, 3):
        raise ValueError(
            f"straight: embeddings must have 2 or 3 columns; got {points.shape[1]}. Use pca or umap_layout."
        )
    return points


def pca(embeddings: np.ndarray, dims: int = 2, previous: np.ndarray | None = None) -> np.ndarray:
    """Return the first principal components of the normalised embeddings, (N, dims) float32, centred.

    Deterministic. Without a previous layout each axis points to where its scores reach farthest; with one, the points
    are turned or mirrored to it (never scaled: the spread is information). Where the embeddings span fewer than `dims`
    directions the rest is zero, so identical embeddings are one point.

    Raises: ValueError if a number isn't finite, dims < 1, or `previous` has another shape.
    """
    unit = unit_rows(embeddings, "pca")
    if dims < 1:
        raise ValueError(f"pca: dims must be at least 1; got {dims}.")
    if previous is not None:
        previous = _checked_previous(previous, (len(unit), dims), "pca")
    centred = unit - unit.mean(axis=0) if len(unit) else unit
    directions = _principal_directions(centred, dims)  # (D, up to dims)
    points = np.zeros((len(unit), dims), np.float32)
    points[:, : directions.shape[1]] = centred @ directions
    if len(unit) == 0 or _collapsed(points):
        return np.zeros_like(points)
    if previous is None:
        farthest = points[np.abs(points).argmax(axis=0), np.arange(dims)]
        return points * np.where(farthest < 0, np.float32(-1), np.float32(1))
    return points @ _turn(points, previous - previous.mean(axis=0))


def align(points: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Return points (N, d) float32 turned, mirrored, moved and scaled as a whole to lie on `previous` (Procrustes).

    The scale makes the spread (root mean square) equal to the previous one. The least-squares scale would be smaller
    whenever points really moved, and a map aligned a hundred times would shrink to nothing.
    """
    points = finite_rows(points, "align", "points")
    previous = _checked_previous(previous, points.shape, "align")
    if len(points) == 0:
        return points
    centre = previous.mean(axis=0)
    here, there = points - points.mean(axis=0), previous - centre
    if _collapsed(here) or _collapsed(there):
        return here + centre
    scale = np.linalg.norm(there) / np.linalg.norm(here)
    return (scale * here @ _turn(here, there) + centre).astype(np.float32)


def umap_layout(
    embeddings: np.ndarray,
    previous: np.ndarray | None = None,
    seed: int = 0,
    epochs: int | None = None,
    *,
    dims: int = 2,
) -> np.ndarray:
    """Return a UMAP of the embeddings, (N, dims) float32, that starts from the previous layout and stays near it.

    Exact neighbours, umap's fuzzy graph and its own optimiser, single-threaded from the seed: the same arguments give
    the same map. Cold (no previous layout) it starts from principal components and takes 200 epochs; warm it starts
    from where the points were, takes 50 smaller steps (20 beyond 5,000 points), and is aligned to them. Embeddings that
    are all the same are one point, since any other picture of them would be noise.

    Raises: ValueError if there are fewer than 16 points, a number isn't finite, or `previous` has another shape.
    """
    unit = unit_rows(embeddings, "umap_layout")
    count = len(unit)
    if count <= NEIGHBOURS:
        raise ValueError(f"umap_layout: needs more than {NEIGHBOURS} points; got {count}. Show their pca instead.")
    if epochs is not None and epochs < 1:
        raise ValueError(f"umap_layout: epochs must be at least 1; got {epochs}.")
    if previous is not None:
        previous = _checked_previous(previous, (count, dims), "umap_layout")
    if _collapsed(unit - unit.mean(axis=0)):
        centre = 0 if previous is None else previous.mean(axis=0)
        return np.zeros((count, dims), np.float32) + np.float32(centre)
    random = np.random.default_rng(seed)
    if previous is None or _collapsed(previous - previous.mean(axis=0)):
        points, effort = _stretched(pca(unit, dims)), COLD
    else:
        points, effort = previous.copy(), WARM if count <= LARGE else WARM_LARGE
    points += random.normal(scale=1e-4, size=points.shape).astype(np.float32)  # no two at the same place
    with ONE_AT_A_TIME:
        points = _optimised(points, unit, effort._replace(epochs=epochs or effort.epochs), random)
    return points if previous is None else align(points, previous)


def place_among(points: np.ndarray, embeddings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return places (P, d) float32 of `others` (P, D) on the map `points` (N, d) of `embeddings` (N, D), which stays.

    Each lies between its five nearest embeddings by cosine, the nearer the more.
    """
    count = min(5, len(points))
    cosines, nearest = knn(unit_rows(others, "place_among"), unit_rows(embeddings, "place_among"), count)
    weights = np.exp(10.0 * (cosines - cosines.max(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("pk,pkd->pd", weights, points[nearest]).astype(np.float32)


def warm_up() -> None:
    """Import umap, and load or compile what a layout needs (seconds, once per process)."""
    embeddings = np.random.default_rng(0).normal(size=(64, 8))
    for dims in (2, 3):
        umap_layout(embeddings, dims=dims, epochs=2)


def _principal_directions(centred: np.ndarray, dims: int) -> np.ndarray:
    """Leading eigenvectors of the covariance, (D, min(dims, N, D)) float32, largest first."""
    kept = min(dims, *centred.shape)
    if centred.shape[1] <= 256:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        return vectors[:, ::-1][:, :kept]
    # Subspace iteration from a fixed start: a wide covariance costs a second, a few thin products milliseconds.
    width = min(kept + 14, *centred.shape)
    basis = np.random.default_rng(0).normal(size=(centred.shape[1], width)).astype(np.float32)
    for _ in range(8):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    scores = centred @ basis  # (N, width)
    _, vectors = np.linalg.eigh(scores.T @ scores)
    return basis @ vectors[:, ::-1][:, :kept]


def _turn(points: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Orthogonal (d, d) matrix, mirrors allowed, that brings centred points nearest to a centred previous layout."""
    left, _, right = np.linalg.svd(points.T @ previous)
    return (left @ right).astype(np.float32)


def _collapsed(centred: np.ndarray) -> bool:
    """Whether centred points are one point but for float32 rounding."""
    return bool(np.abs(centred).max() < 1e-5)


def _checked_previous(previous: np.ndarray, shape: tuple[int, int], who: str) -> np.ndarray:
    previous = finite_rows(previous, who, "the previous layout")
    if previous.shape != shape:
        raise ValueError(
            f"{who}: the previous layout must be of the same points, shape {shape}; got {previous.shape}. "
            "Pass previous=None to begin a new map."
        )
    return previous


def _stretched(points: np.ndarray) -> np.ndarray:
    """Points with each axis from 0 to 10, where umap starts its own layouts."""
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    return 10 * (points - low) / np.where(extent > 0, extent, 1)


def _neighbours(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact 15 nearest (N, 15) int32, the point itself first, and their distances, ascending and never negative."""
    centred = unit - unit.mean(axis=0)  # distances stay, and rounding shrinks where all embeddings point one way
    squares, indices = knn(centred, centred, NEIGHBOURS, euclidean=True)
    rows = np.arange(len(unit))
    # Among duplicates the point itself may be anywhere or missing: it takes the first place, or the last one's.
    place = np.where(indices == rows[:, None], 1, 0)
    place[~place.any(axis=1), -1] = 1
    squares[place == 1], indices[place == 1] = -1, rows
    order = np.argsort(squares, axis=1, kind="stable")
    squares = np.take_along_axis(squares, order, axis=1)
    return np.take_along_axis(indices, order, axis=1).astype(np.int32), np.sqrt(np.maximum(squares, 0))


def _optimised(points: np.ndarray, unit: np.ndarray, effort: Effort, random: np.random.Generator) -> np.ndarray:
    """Run umap's own optimiser on the points, in place of `UMAP.fit`, which would first squeeze them into a square."""
    umap_, layouts = _umap()
    indices, distances = _neighbours(unit)
    graph, _, _ = umap_.fuzzy_simplicial_set(
        unit, NEIGHBOURS, None, "euclidean", knn_indices=indices, knn_dists=distances.astype(np.float32)
    )
    graph = graph.tocoo()
    strong = graph.data >= graph.data.max() / effort.epochs  # weaker edges would not be visited once
    a, b = _curve()
    return layouts.optimize_layout_euclidean(
        points,
        points,
        graph.row[strong],
        graph.col[strong],
        effort.epochs,
        len(points),
        umap_.make_epochs_per_sample(graph.data[strong], effort.epochs),
        a,
        b,
        random.integers(np.iinfo(np.int32).min, np.iinfo(np.int32).max, 3),
        initial_alpha=effort.step,
        negative_sample_rate=effort.negatives,
        move_other=True,
    )


@functools.cache
def _umap() -> tuple[ModuleType, ModuleType]:
    """umap's modules, imported late: they take seconds, and only the projector needs them.

    What a layout needs of them is compiled once on a machine; numba stores it beside umap or in the cache folder.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        from umap import layouts, umap_
    for compiled in (
        umap_.smooth_knn_dist,
        umap_.compute_membership_strengths,
        layouts._nb_optimize_layout_euclidean_single_epoch,
    ):
        with contextlib.suppress(RuntimeError):  # where no folder can be written to they are compiled each time
            compiled.enable_caching()
    return umap_, layouts


@functools.cache
def _curve() -> tuple[float, float]:
    umap_, _ = _umap()
    return umap_.find_ab_params(SPREAD, MIN_DIST)
