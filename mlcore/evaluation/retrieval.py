"""What a search returns: exact nearest neighbours by cosine, and how many of them are of the query's class.

Every sample asks once, with all the others as its gallery. A sample never finds itself: its own row is taken out by
index, so an exact duplicate of the query stays in, as it should.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mlcore.evaluation.array_checks import unit_rows, whole_labels
from mlcore.evaluation.knn import knn
from mlcore.evaluation.ranking import Ranking, rank_of_first_hit

# Neighbours held at once: 2**22 are 32 MB of indices and 16 MB of similarities.
BLOCK = 2**22


class PerQuery(NamedTuple):
    """How each sample did as a query.

    `average_precision` (N,) float32 is AP@R and NaN for a lone query (no other sample of its class);
    `first_hit` (N,) int32 is the rank of the first sample of its class, from 1, and 0 for a lone query.
    """

    average_precision: np.ndarray
    first_hit: np.ndarray

    def hardest(self, count: int) -> np.ndarray:
        """Return the rows of the `count` worst queries, worst first; lone queries are never among them."""
        asked = np.flatnonzero(self.first_hit > 0)
        order = np.lexsort((asked, -self.first_hit[asked], self.average_precision[asked]))
        return asked[order[:count]]


def nearest(embeddings: np.ndarray, k: int, *, gallery: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest rows by cosine, nearest first: indices (N, k) int32 and similarities (N, k) float32.

    Without a gallery the embeddings are searched among themselves and no row finds itself. With one, rows of the
    gallery (M, D) are returned, whatever they are.

    Raises: ValueError if the gallery holds fewer than k candidates, or sizes differ, or a number isn't finite.
    """
    queries = unit_rows(embeddings, "nearest")
    others = None if gallery is None else unit_rows(gallery, "nearest", "gallery")
    if others is not None and others.shape[1] != queries.shape[1]:
        raise ValueError(f"nearest: gallery must have {queries.shape[1]} columns as embeddings; got {others.shape[1]}.")
    candidates = len(queries) - 1 if others is None else len(others)
    if not 1 <= k <= candidates:
        raise ValueError(f"nearest: k must be between 1 and the {candidates} candidates; got {k}.")
    if others is None:
        return _search(queries, np.arange(len(queries)), k)
    similarities, indices = knn(queries, others, k)
    return indices.astype(np.int32), similarities


def evaluate_retrieval(
    embeddings: np.ndarray, labels: np.ndarray, ks: Sequence[int] = (1, 2, 4, 8)
) -> dict[str, float | int | None]:
    """Return how often a search among all the other samples brings back the query's class.

    With R the number of other samples of the query's class: `recall_at_k` is the share of queries with a hit in the
    first k; `precision_at_1` the share whose first is a hit; `r_precision` the mean share of hits in the first R;
    `map_at_r` the mean over queries of (1/R) * sum over hits i <= R of precision at i (arXiv:2003.08505, section 3.2).
    `queries` counts those asked and `lone_queries` those left out because no other sample is of their class. The shares
    are None where they would say nothing of the embeddings: if all are lone, or all that ask are of one class.

    Shapes: embeddings (N, D) float, not normalised; labels (N,) whole numbers.
    Memory: the neighbours of a block of queries, never an (N, N) table.
    """
    ranking = quick_ranking(embeddings, labels, ks)
    if can_be_wrong(np.asarray(labels)):
        return ranking.mean()
    return ranking.mean() | dict.fromkeys(ranking.metrics)


def quick_ranking(embeddings: np.ndarray, labels: np.ndarray, ks: Sequence[int] = (1, 2, 4, 8)) -> Ranking:
    """Return what `rank` does of samples among themselves, but for `map` and `mrr`, for which all would be sorted.

    Shapes, memory: as `evaluate_retrieval`. Raises: ValueError for ks below 1 and numbers that are not finite.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"evaluate_retrieval: ks must be whole numbers from 1; got {tuple(ks)}.")
    unit = unit_rows(embeddings, "evaluate_retrieval")
    labels = whole_labels(labels, len(unit), "evaluate_retrieval")
    names = (*(f"recall_at_{k}" for k in ks), "precision_at_1", "r_precision", "map_at_r")
    metrics = {name: np.zeros(len(unit)) for name in names}
    asked = np.zeros(len(unit), bool)
    for rows, hits, relevant in _ranked(unit, labels, max(ks)):
        asked[rows] = True
        for k in ks:
            metrics[f"recall_at_{k}"][rows] = hits[:, :k].any(axis=1)
        within = hits & (np.arange(hits.shape[1]) < relevant[:, None])
        metrics["precision_at_1"][rows] = hits[:, 0]
        metrics["r_precision"][rows] = within.sum(axis=1) / relevant
        metrics["map_at_r"][rows] = average_precision_at_r(within, relevant)
    of_asked = {name: values[asked] for name, values in metrics.items()}
    return Ranking(of_asked, labels[asked], len(unit) - int(asked.sum()))


def can_be_wrong(labels: np.ndarray) -> bool:
    """Whether samples of two classes ask for others of theirs; with one alone, metrics are high whatever is learned."""
    return int((np.unique(labels, return_counts=True)[1] > 1).sum()) > 1


def per_query(embeddings: np.ndarray, labels: np.ndarray) -> PerQuery:
    """Return AP@R and the rank of the first hit of every sample as a query; see `evaluate_retrieval`."""
    unit = unit_rows(embeddings, "per_query")
    labels = whole_labels(labels, len(unit), "per_query")
    average_precision = np.full(len(unit), np.nan, np.float32)
    first_hit = np.zeros(len(unit), np.int32)
    for rows, hits, relevant in _ranked(unit, labels, 8):
        within = hits & (np.arange(hits.shape[1]) < relevant[:, None])
        average_precision[rows] = average_precision_at_r(within, relevant)
        first_hit[rows] = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
        missed = rows[first_hit[rows] == 0]
        for part in np.array_split(missed, max(1, len(missed) * len(unit) // BLOCK)):
            found = rank_of_first_hit(unit[part], labels[part], unit, labels, part)
            first_hit[part] = np.maximum(found, hits.shape[1] + 1)
    return PerQuery(average_precision, first_hit)


def _search(unit: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest k of `unit[rows]` among all of `unit` but themselves."""
    queries = unit if len(rows) == len(unit) else unit[rows]
    similarities, indices = knn(queries, unit, k + 1)
    itself = indices == rows[:, None]
    # Among more than k exact duplicates the row itself may be missing; then the last one is the one too many.
    itself[~itself.any(axis=1), -1] = True
    return indices[~itself].reshape(-1, k).astype(np.int32), similarities[~itself].reshape(-1, k)


def _ranked(unit: np.ndarray, labels: np.ndarray, at_least: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield blocks of queries: their rows (B,), hits (B, depth) bool nearest first, and R (B,).

    Each block is searched as deep as its largest R asks for, so one large class doesn't make all searches deep.
    """
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    relevant = counts[codes] - 1
    depths = np.minimum(np.maximum(relevant, at_least), len(unit) - 1)
    rows = np.flatnonzero(relevant > 0)
    doublings = np.ceil(np.log2(depths[rows])).astype(int) if len(rows) else rows
    for doubling in np.unique(doublings):
        alike = rows[doublings == doubling]
        depth = int(depths[alike].max())
        for part in np.array_split(alike, -(-len(alike) * depth // BLOCK)):
            indices, _ = _search(unit, part, depth)
            yield part, codes[indices] == codes[part][:, None], relevant[part]


def average_precision_at_r(within: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """AP@R (B,) of hits (B, depth) that are False from column R on."""
    precision = np.cumsum(within, axis=1) / np.arange(1, within.shape[1] + 1)
    return (precision * within).sum(axis=1) / relevant
