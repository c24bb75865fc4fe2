"""Where a search among images fails: the worst classes, classes taken for each other, the hardest queries, odd labels.

Plain functions of embeddings and labels; neighbours are by cosine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlcore.evaluation.array_checks import unit_rows, whole_labels
from mlcore.evaluation.ranking import count_relevant, own_hits, rank_block, rank_of_first_hit
from mlcore.evaluation.retrieval import average_precision_at_r, nearest

BLOCK = 2**21  # neighbours held at once
NEAREST = 10  # neighbours that are kept of each query, and that judge a label
MOST_OF_OWN = 0.2  # share of the own class among the nearest of an image whose label is doubted


class ClassScore(NamedTuple):
    """How well the images of a class find each other. `queries` counts those that asked."""

    label: int
    map_at_r: float
    queries: int


class Confusion(NamedTuple):
    """Of the R nearest of each image of class `label`, the `share` that is of class `other`."""

    label: int
    other: int
    share: float


class DoubtedLabel(NamedTuple):
    """An image (`row`) whose neighbours are of another class: of its `neighbours` nearest `agreeing` are of class
    `other`, and `own` of the class that it is said to be of. `nearest` are rows, also those beyond these."""

    row: int
    label: int
    other: int
    agreeing: int
    own: int
    neighbours: int
    nearest: tuple[int, ...]

    @property
    def score(self) -> float:
        """How many more speak for the other class than for its own, of all who speak: it speaks for its own, too."""
        return (self.agreeing - self.own) / (self.neighbours + 1)


@dataclass(frozen=True, eq=False)
class SideSearch:
    """What each image of a side finds, and how good that is. Rows are those of the embeddings that were given.

    Shapes: unit (N, D) float32 and labels (N,) of all rows; queries (Q,) rows that ask and have one of their class to
    find, lone (L,) rows that ask and have none, gallery (G,) rows that are searched; of each query average_precision
    (Q,) float64, which is AP@R, first_hit (Q,) the rank of its first right one, from 1, and nearest (Q, up to 10) rows,
    -1 where there are no more. `confusions` come with the largest share first.
    """

    unit: np.ndarray
    labels: np.ndarray
    queries: np.ndarray
    lone: np.ndarray
    gallery: np.ndarray
    average_precision: np.ndarray
    first_hit: np.ndarray
    nearest: np.ndarray
    confusions: tuple[Confusion, ...]

    def class_scores(self) -> list[ClassScore]:
        """Every class that asks, the worst first."""
        classes, codes = np.unique(self.labels[self.queries], return_inverse=True)
        counts = np.bincount(codes, minlength=len(classes))
        means = np.bincount(codes, self.average_precision, minlength=len(classes)) / np.maximum(counts, 1)
        order = np.argsort(means, kind="stable")
        return [ClassScore(int(classes[at]), float(means[at]), int(counts[at])) for at in order]

    def queries_of(self, label: int) -> np.ndarray:
        """Places among the queries of those of a class, the worst first."""
        order = self.hardest()
        return order[self.labels[self.queries[order]] == label]

    def hardest(self) -> np.ndarray:
        """Places among the queries, the worst first: by AP@R, then by how late the first right one comes."""
        return np.lexsort((self.queries, -self.first_hit, self.average_precision))

    def closest_to(self, label: int, other: int, count: int) -> list[tuple[int, int]]:
        """Images of a class that come closest to another one, each with its nearest there: (row, row of the other).

        First come those that are nearer to the other class than to the rest of their own, by most.
        """
        asking = self.queries[self.labels[self.queries] == label]
        strangers, mates = (self.gallery[self.labels[self.gallery] == of] for of in (other, label))
        if not len(asking) or not len(strangers):
            return []
        to_strangers = self.unit[asking] @ self.unit[strangers].T
        to_mates = np.where(asking[:, None] == mates, -np.inf, self.unit[asking] @ self.unit[mates].T)
        nearer = to_strangers.max(axis=1) - to_mates.max(axis=1)
        found = strangers[to_strangers.argmax(axis=1)]
        order = np.argsort(-nearer, kind="stable")[:count]
        return [(int(asking[at]), int(found[at])) for at in order]


def search_side(
    embeddings: np.ndarray,
    labels: np.ndarray,
    asking: np.ndarray | None = None,
    gallery: np.ndarray | None = None,
) -> SideSearch:
    """Search with each row that asks among the rows of the gallery, none finding itself.

    `asking` None: every row; `gallery` None: the rows that ask.

    Shapes: embeddings (N, D) float, not normalised; labels (N,) whole numbers; asking and gallery row numbers.
    Memory: the neighbours of a block of queries, as many as their classes have images; never an (N, N) table.
    Raises: ValueError for sizes that do not fit and numbers that are not finite.
    """
    unit = unit_rows(embeddings, "search_side")
    labels = whole_labels(labels, len(unit), "search_side")
    asking = np.arange(len(unit)) if asking is None else asking
    gallery = asking if gallery is None else gallery
    places = np.full(len(unit), -1)
    places[gallery] = np.arange(len(gallery))
    relevant = count_relevant(labels[asking], labels[gallery])
    relevant -= own_hits(labels[asking], labels[gallery], places[asking])
    queries, relevant, lone = asking[relevant > 0], relevant[relevant > 0], asking[relevant == 0]
    itself = places[queries]
    most = len(gallery) - bool((itself >= 0).any())

    precision = np.zeros(len(queries))
    first_hit = np.zeros(len(queries), np.int64)
    near = np.full((len(queries), NEAREST), -1)
    classes, codes = np.unique(labels, return_inverse=True)
    pairs: list[np.ndarray] = []
    for block in blocks_of_like_depth(relevant, most):
        depth = min(most, max(NEAREST, int(relevant[block].max())))
        rows, mine = queries[block], itself[block]
        order = rank_block(unit[rows], unit[gallery], mine, depth, True, True)
        found = codes[gallery][order]
        hits = (found == codes[rows][:, None]) & (order != mine[:, None])
        within = np.arange(depth) < relevant[block][:, None]
        precision[block] = average_precision_at_r(hits & within, relevant[block])
        first_hit[block] = hits.argmax(axis=1) + 1
        missed = block[~hits.any(axis=1)]
        for part in np.array_split(missed, max(1, len(missed) * len(gallery) // BLOCK)):
            asked = queries[part]
            rank = rank_of_first_hit(unit[asked], labels[asked], unit[gallery], labels[gallery], itself[part])
            first_hit[part] = np.maximum(rank, depth + 1)
        near[block, : min(depth, NEAREST)] = gallery[order[:, :NEAREST]]
        pairs.append((codes[rows][:, None] * len(classes) + found)[within & ~hits])
    confusions = count_confusions(pairs, classes, np.bincount(codes[queries], relevant, minlength=len(classes)))
    return SideSearch(unit, labels, queries, lone, gallery, precision, first_hit, near, confusions)


def blocks_of_like_depth(relevant: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Places of queries, in blocks in which about as many neighbours are needed, so that few are searched too deep."""
    order = np.argsort(relevant, kind="stable")
    while len(order):
        depths = np.minimum(most, np.maximum(relevant[order], NEAREST))
        fitting = np.searchsorted(np.arange(1, len(order) + 1) * depths, BLOCK, side="right")
        yield order[: max(1, fitting)]
        order = order[max(1, fitting) :]


def count_confusions(pairs: list[np.ndarray], classes: np.ndarray, places: np.ndarray) -> tuple[Confusion, ...]:
    """Shares of wrong pairs, the largest first. A pair is the place of the query's class among the classes (C,), times
    C, plus that of the class that was found; `places` (C,) is how many each class could find."""
    known, counts = np.unique(np.concatenate([*pairs, np.zeros(0, np.int64)]), return_counts=True)
    asking, other = known // len(classes), known % len(classes)
    shares = counts / places[asking]
    order = np.lexsort((other, asking, -shares))
    columns = zip(classes[asking[order]].tolist(), classes[other[order]].tolist(), shares[order].tolist(), strict=True)
    return tuple(Confusion(*row) for row in columns)


def doubt_labels(embeddings: np.ndarray, labels: np.ndarray, neighbours: int = NEAREST) -> list[DoubtedLabel]:
    """Images that lie among another class, the most doubtful first: their labels may be wrong.

    Each image is judged by its `neighbours` nearest, or as many as there are others of its class. It is doubted where
    more than half of them are of one other class and at most a fifth of its own. Images without another of their class
    are not judged.

    Shapes: embeddings (N, D) float, not normalised; labels (N,) whole numbers.
    Raises: ValueError for sizes that do not fit and numbers that are not finite.
    """
    labels = whole_labels(labels, len(embeddings), "doubt_labels")
    if len(labels) < 2:
        return []
    found, cosines = nearest(embeddings, min(neighbours, len(labels) - 1))
    counted = np.minimum(count_relevant(labels, labels) - 1, found.shape[1])
    speaking = np.arange(found.shape[1]) < counted[:, None]
    said = labels[found]
    own = ((said == labels[:, None]) & speaking).sum(axis=1)
    same = (said[:, :, None] == said[:, None, :]) & speaking[:, None, :]  # (N, k, k): do these two agree
    agreeing = np.where(speaking & (said != labels[:, None]), same.sum(axis=2), 0)
    speaker = agreeing.argmax(axis=1)[:, None]  # the nearest of the class that most are of
    other = np.take_along_axis(said, speaker, 1)[:, 0]
    votes = np.take_along_axis(agreeing, speaker, 1)[:, 0]
    doubted = np.flatnonzero((2 * votes > counted) & (own <= MOST_OF_OWN * counted))
    close = np.where(speaking, cosines, 0).sum(axis=1) / np.maximum(counted, 1)
    score = (votes - own) / (counted + 1)
    order = doubted[np.lexsort((doubted, -close[doubted], -score[doubted]))]
    columns = (order, labels[order], other[order], votes[order], own[order], counted[order])
    rows = zip(*(column.tolist() for column in columns), map(tuple, found[order].tolist()), strict=True)
    return [DoubtedLabel(*row) for row in rows]
