"""Every measure of a search, for any queries and any gallery: per query, per class and on average.

`quick_ranking` is the quick one, for a set among itself; this one ranks the whole gallery, or as deep as asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mlcore.evaluation.array_checks import finite_rows, unit_rows, whole_labels
from mlcore.evaluation.knn import knn

# Similarities ranked at once: 2**21 take about 60 MB.
BLOCK = 2**21


class Ranking(NamedTuple):
    """What each query was worth: metrics by name, each (Q,) float64, of the queries that were asked, and their labels.

    Lone queries (nothing of their class in the gallery but themselves) are left out, and counted.
    """

    metrics: dict[str, np.ndarray]
    labels: np.ndarray
    lone_queries: int

    def mean(self) -> dict[str, float | int | None]:
        """The mean over queries; None if all were lone."""
        means = {name: float(values.mean()) if len(values) else None for name, values in self.metrics.items()}
        return means | {"queries": len(self.labels), "lone_queries": self.lone_queries}

    def per_class(self) -> dict[int, dict[str, float]]:
        """The mean over the queries of each class, by class number."""
        classes, codes = np.unique(self.labels, return_inverse=True)
        counts = np.bincount(codes)
        means = {name: np.bincount(codes, values) / counts for name, values in self.metrics.items()}
        return {
            int(number): {name: float(values[place]) for name, values in means.items()}
            for place, number in enumerate(classes)
        }

    def mean_of_classes(self) -> dict[str, float | int | None]:
        """The mean over classes of their means: a class with few queries counts as much as one with many."""
        by_class = list(self.per_class().values())
        means = {name: float(np.mean([one[name] for one in by_class])) if by_class else None for name in self.metrics}
        return means | {"queries": len(self.labels), "lone_queries": self.lone_queries}


def rank(
    queries: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    *,
    itself: np.ndarray | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    depth: int | None = None,
    normalize: bool = True,
) -> Ranking:
    """Return how each query ranks a gallery; without one, the queries among themselves, none finding itself.

    `recall_at_k`, `precision_at_1`, `r_precision` and `map_at_r` are those of `evaluate_retrieval`, where R is how many
    of the query's class the gallery has. `map` is the mean precision at every hit, over R, and `mrr` one over the rank
    of the first hit. With `depth`, hits below it count as missed in `map` and `mrr`, and the search is exact but only
    so deep; without, the whole gallery is sorted for each query.

    `itself` (Q,) is each query's own row in the gallery, -1 where it is not there: that row is taken out by index,
    so duplicates stay in. Neighbours are by cosine, or by distance where `normalize` is False.

    Shapes: queries (Q, D), gallery (M, D) float; labels (Q,), gallery_labels (M,) whole numbers.
    Memory: the similarities of a block of queries, never a (Q, M) table.
    Raises: ValueError for sizes that do not fit, numbers that are not finite, ks or depth below 1.
    """
    if not ks or min(ks) < 1 or (depth is not None and depth < 1):
        raise ValueError(f"rank: ks and depth must be whole numbers from 1; got {tuple(ks)} and {depth}.")
    prepare = unit_rows if normalize else finite_rows
    queries = prepare(queries, "rank", "queries")
    labels = whole_labels(labels, len(queries), "rank")
    if gallery is None or gallery_labels is None:
        if gallery is not None or gallery_labels is not None:
            raise ValueError("rank: gallery and gallery_labels go together; got one of them.")
        gallery, gallery_labels, itself = queries, labels, np.arange(len(queries))
    else:
        gallery = prepare(gallery, "rank", "gallery")
        gallery_labels = whole_labels(gallery_labels, len(gallery), "rank, gallery_labels")
        itself = np.full(len(queries), -1) if itself is None else np.asarray(itself)
    if gallery.shape[1] != queries.shape[1]:
        raise ValueError(f"rank: gallery must have {queries.shape[1]} columns as queries; got {gallery.shape[1]}.")
    if itself.shape != labels.shape or (len(itself) and (itself.min() < -1 or itself.max() >= len(gallery))):
        raise ValueError(f"rank: itself must be one row of the gallery (or -1) per query; got shape {itself.shape}.")
    relevant = count_relevant(labels, gallery_labels) - own_hits(labels, gallery_labels, itself)
    asked = np.flatnonzero(relevant > 0)
    deepest = len(gallery) if depth is None else max(depth, max(ks), int(relevant.max(initial=0)))
    deepest = min(deepest, len(gallery) - (1 if (itself >= 0).any() else 0))
    parts = []
    for rows in np.array_split(asked, max(1, -(-len(asked) * len(gallery) // BLOCK))):
        order = rank_block(queries[rows], gallery, itself[rows], max(deepest, 1), depth is not None, normalize)
        hits = gallery_labels[order] == labels[rows][:, None]
        hits &= order != itself[rows][:, None]
        parts.append(measure_hits(hits, relevant[rows], ks, depth))
    metrics = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Ranking(metrics, labels[asked], len(labels) - len(asked))


def rank_block(
    queries: np.ndarray, gallery: np.ndarray, itself: np.ndarray, deepest: int, shallow: bool, normalize: bool
) -> np.ndarray:
    """(B, deepest) rows of the gallery, nearest first, each query's own row left out (or last)."""
    if shallow and deepest < len(gallery):
        _, order = knn(queries, gallery, deepest + 1, euclidean=not normalize)
        own = order == itself[:, None]
        own[~own.any(axis=1), -1] = True
        return order[~own].reshape(len(queries), deepest)
    near = queries @ gallery.T
    if not normalize:
        near -= 0.5 * np.einsum("nd,nd->n", gallery, gallery)
    there = np.flatnonzero(itself >= 0)
    near[there, itself[there]] = -np.inf
    return np.argsort(-near, axis=1, kind="stable")[:, :deepest]


def measure_hits(hits: np.ndarray, relevant: np.ndarray, ks: Sequence[int], depth: int | None) -> dict[str, np.ndarray]:
    """Every metric (B,) of hits (B, deepest), nearest first, with R relevant ones for each query."""
    places = np.arange(1, hits.shape[1] + 1)
    at_hits = np.where(hits, np.cumsum(hits, axis=1) / places, 0.0)  # precision at each hit
    within_r = places <= relevant[:, None]
    counted = hits if depth is None else hits & (places <= depth)
    first = np.where(counted.any(axis=1), counted.argmax(axis=1) + 1.0, np.inf)
    return {
        **{f"recall_at_{k}": hits[:, :k].any(axis=1).astype(np.float64) for k in ks},
        "precision_at_1": hits[:, 0].astype(np.float64),
        "r_precision": (hits & within_r).sum(axis=1) / relevant,
        "map_at_r": np.where(within_r, at_hits, 0.0).sum(axis=1) / relevant,
        "map": np.where(counted, at_hits, 0.0).sum(axis=1) / relevant,
        "mrr": 1.0 / first,
    }


def rank_of_first_hit(
    queries: np.ndarray, labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray, itself: np.ndarray
) -> np.ndarray:
    """(B,) rank of the nearest of each query's class, counted over the whole gallery; see `rank` for the arguments."""
    near = queries @ gallery.T
    same = labels[:, None] == gallery_labels
    mates = np.where(same & (np.arange(len(gallery)) != itself[:, None]), near, -np.inf)
    return 1 + (~same & (near > mates.max(axis=1, keepdims=True))).sum(axis=1)


def count_relevant(labels: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """(Q,) how many of the gallery have each query's label."""
    classes, counts = np.unique(gallery_labels, return_counts=True)
    if len(classes) == 0:
        return np.zeros(len(labels), np.int64)
    place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where(classes[place] == labels, counts[place], 0)


def own_hits(labels: np.ndarray, gallery_labels: np.ndarray, itself: np.ndarray) -> np.ndarray:
    """(Q,) 1 where a query's own row in the gallery has its label."""
    if len(gallery_labels) == 0:
        return np.zeros(len(labels), np.int64)
    return ((itself >= 0) & (gallery_labels[np.maximum(itself, 0)] == labels)).astype(np.int64)


def fit_pca(embeddings: np.ndarray, columns: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what turns rows (N, D) into their first principal components (N, columns), fitted on `embeddings`.

    Raises: ValueError if `columns` is more than rows or columns allow.
    """
    rows = finite_rows(embeddings, "fit_pca").astype(np.float64)
    most = min(rows.shape)
    if not 1 <= columns <= most:
        raise ValueError(f"fit_pca: columns must be between 1 and {most}; got {columns}.")
    mean = rows.mean(axis=0)
    _, axes = np.linalg.eigh((rows - mean).T @ (rows - mean))
    axes = axes[:, ::-1][:, :columns]
    return lambda others: ((finite_rows(others, "pca") - mean) @ axes).astype(np.float32)
