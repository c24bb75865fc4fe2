"""How far a flat map can be believed: are the neighbours on it the neighbours in the embedding space?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlcore.evaluation.array_checks import finite_rows, unit_rows
from mlcore.evaluation.retrieval import nearest


class Kept(NamedTuple):
    """Share of neighbours kept, 0 to 1: the mean, and for each point (N,) float32."""

    mean: float
    per_point: np.ndarray


def knn_kept(high: np.ndarray, low: np.ndarray, k: int = 15) -> Kept:
    """Return the share of each point's k nearest embeddings that are among its k nearest on the map.

    Shapes: high (N, D) embeddings, not normalised, compared by cosine; low (N, 2 or 3) map, by distance.
    Raises: ValueError if there are not more than k points, or the sizes differ.
    """
    low = _checked(high, low, k, "knn_kept")
    before, _ = nearest(high, k)
    after = _neighbours_on_map(low, k)
    # Row and neighbour as one number, so that membership is one search over all pairs.
    count = np.int64(len(low))
    places = np.arange(count)[:, None] * count
    kept = np.isin(before + places, after + places).mean(axis=1)
    return Kept(float(kept.mean()), kept.astype(np.float32))


def trustworthiness(high: np.ndarray, low: np.ndarray, k: int = 15) -> float:
    """Return how rarely the map shows as neighbours what are none, 0 to 1 (Venna and Kaski 2001).

    Each of a point's k neighbours on the map costs as many places as it is beyond the k-th in the embedding space.
    The value is scikit-learn's on L2-normalised embeddings; distances are counted, never sorted.

    Shapes: as `knn_kept`. Raises: ValueError as `knn_kept`, and if k isn't below half the points.
    """
    low = _checked(high, low, k, "trustworthiness")
    count = len(low)
    if 2 * k >= count:
        raise ValueError(f"trustworthiness: k must be below half the {count} points; got {k}.")
    unit = unit_rows(high, "trustworthiness")
    unit = unit - unit.mean(axis=0)  # distances stay, and rounding shrinks where all embeddings point one way
    halves = 0.5 * np.einsum("nd,nd->n", unit, unit)
    neighbours = _neighbours_on_map(low, k)
    beyond = 0
    for start in range(0, count, 500):
        rows = np.arange(start, min(start + 500, count))
        far = halves - unit[rows] @ unit.T  # (B, N), half the squared distance but for a constant of the row
        far[np.arange(len(rows)), rows] = -np.inf
        theirs = np.take_along_axis(far, neighbours[rows], axis=1)
        for row, values in zip(far, theirs, strict=True):
            ranks = [
                int(np.count_nonzero(row < value)) for value in values
            ]  # the point itself counts, so the nearest is 1
            beyond += sum(rank - k for rank in ranks if rank > k)
    return 1.0 - beyond * 2.0 / (count * k * (2.0 * count - 3.0 * k - 1.0))


def _checked(high: np.ndarray, low: np.ndarray, k: int, who: str) -> np.ndarray:
    low = finite_rows(low, who, "the map")
    if len(low) != len(high):
        raise ValueError(f"{who}: the map must have a point per embedding, {len(high)}; got {len(low)}.")
    if not 1 <= k < len(low):
        raise ValueError(f"{who}: k must be at least 1 and below the {len(low)} points; got {k}.")
    return low


def _neighbours_on_map(low: np.ndarray, k: int) -> np.ndarray:
    """Nearest k other points (N, k) by distance on the map, the point itself left out by index."""
    from scipy.spatial import cKDTree

    _, indices = cKDTree(low).query(low, k + 1)
    itself = indices == np.arange(len(low))[:, None]
    itself[~itself.any(axis=1), -1] = True
    return indices[~itself].reshape(-1, k)
