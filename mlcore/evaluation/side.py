"""What an evaluation has of one side of a split; what several metrics need is computed once, when first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mlcore.evaluation.array_checks import finite_rows, unit_rows
from mlcore.evaluation.clustering import assign_clusters, has_groups
from mlcore.evaluation.ranking import Ranking, count_relevant, own_hits, rank, rank_block
from mlcore.evaluation.retrieval import can_be_wrong, nearest, quick_ranking

MOST_RANKED = 5000  # queries: two seconds of one core; twice as many take four times as long
RECALLS = (1, 2, 4, 8)
QUICK_DEPTH = 8  # the deepest recall that is told at every evaluation
MOST_ASKED = 2000  # texts, or images, that search for each other
TEXT_DEPTH = 5


@dataclass(frozen=True, eq=False)
class SideTexts:
    """Texts beside images, embedded into the same space: those (T, D), and each image's own (N,), -1 for none."""

    embeddings: np.ndarray
    numbers: np.ndarray


class Search(NamedTuple):
    """Who asks and what is searched: queries (Q, D) with labels (Q,), a gallery (M, D) with labels (M,).

    `itself` (Q,) is each query's own row in the gallery, -1 where it is not there.
    """

    queries: np.ndarray
    labels: np.ndarray
    gallery: np.ndarray
    gallery_labels: np.ndarray
    itself: np.ndarray


def search_gallery(
    queries: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    itself: np.ndarray | None = None,
) -> Search:
    """Queries that ask a gallery, in which they are not unless `itself` says where."""
    return Search(queries, labels, gallery, gallery_labels, np.full(len(labels), -1) if itself is None else itself)


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a split, as metrics see it.

    `embeddings` (N, D) float, not normalised, and `labels` (N,) whole numbers are all its samples, which search among
    themselves unless there is a `search`. `texts`: where it has some.

    `depth`, `normalize` and `ks`: see `rank`. `whole_gallery`: the gallery is sorted for each query however large it
    is, for all metrics; otherwise only those that need it do so, and have no value for more than MOST_RANKED queries.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    search: Search | None = None
    texts: SideTexts | None = None
    depth: int | None = None
    normalize: bool = True
    whole_gallery: bool = False
    ks: tuple[int, ...] = RECALLS

    @cached_property
    def asking(self) -> Search:
        """The search that is made: the one that was given, or of all samples among themselves."""
        rows, labels = self.embeddings, self.labels
        return self.search or Search(rows, labels, rows, labels, np.arange(len(labels)))

    @cached_property
    def asked(self) -> np.ndarray:
        """(A,) places of the queries that have something of their class to find; the others count nowhere."""
        _, labels, _, gallery_labels, itself = self.asking
        return np.flatnonzero(count_relevant(labels, gallery_labels) > own_hits(labels, gallery_labels, itself))

    @property
    def can_be_wrong(self) -> bool:
        """Whether a search can find something wrong; where it cannot, its metrics say nothing of the embeddings."""
        return len(np.unique(self.search.gallery_labels)) > 1 if self.search else can_be_wrong(self.labels)

    @cached_property
    def ranking(self) -> Ranking:
        """Recalls at `ks`, precision at 1, R-precision and MAP@R of each query of `asked`, by name."""
        if self.whole_gallery:
            return self.rank(self.depth)
        return self.rank(QUICK_DEPTH) if self.search else quick_ranking(self.embeddings, self.labels, self.ks)

    @cached_property
    def whole_ranking(self) -> Ranking | None:
        """The same with `map` and `mrr`, for which all of the gallery is sorted; None for too many queries or none."""
        if self.whole_gallery:
            return self.ranking
        return self.rank(self.depth) if 0 < len(self.asking.labels) <= MOST_RANKED else None

    def rank(self, depth: int | None) -> Ranking:
        return rank(
            self.asking.queries,
            self.asking.labels,
            self.asking.gallery,
            self.asking.gallery_labels,
            itself=self.asking.itself,
            ks=self.ks,
            depth=depth,
            normalize=self.normalize,
        )

    def hits(self, k: int) -> np.ndarray:
        """(A, k) whether each of the nearest k is of the query's class, nearest first; all columns that there are."""
        prepare = unit_rows if self.normalize else finite_rows
        queries = prepare(self.asking.queries, "hits", "queries")[self.asked]
        gallery = prepare(self.asking.gallery, "hits", "gallery")
        itself = self.asking.itself[self.asked]
        depth = min(k, len(gallery) - bool((itself >= 0).any()))
        order = rank_block(queries, gallery, itself, depth, True, self.normalize)
        same = self.asking.gallery_labels[order] == self.asking.labels[self.asked][:, None]
        return same & (order != itself[:, None])

    @cached_property
    def clusters(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Labels (N,) and numbers of k-means clusters (N,), as many as classes; None where no clusters can be wrong."""
        return assign_clusters("clusters", self.embeddings, self.labels, 0) if has_groups(self.labels) else None

    @cached_property
    def text_hits(self) -> np.ndarray | None:
        """(A, up to 5) whether each text that asks finds an image of its own, nearest first; None for under two texts.

        Of more than MOST_ASKED texts or images every so many-th asks; all are searched.
        """
        if self.own_texts is None:
            return None
        images, texts, own = self.own_texts
        asking = evenly_spread_places(len(texts))
        found, _ = nearest(texts[asking], min(TEXT_DEPTH, len(images)), gallery=images)
        return own[found] == asking[:, None]

    @cached_property
    def image_hits(self) -> np.ndarray | None:
        """(A,) whether the nearest text of each image that asks is its own; None for under two texts."""
        if self.own_texts is None:
            return None
        images, texts, own = self.own_texts
        asking = evenly_spread_places(len(images))
        found, _ = nearest(images[asking], 1, gallery=texts)
        return found[:, 0] == own[asking]

    @cached_property
    def own_texts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The images that have a text (I, D), their texts (T, D), and each one's place among these (I,); None for under
        two texts."""
        if self.texts is None:
            return None
        kept = np.flatnonzero(self.texts.numbers >= 0)
        known, own = np.unique(self.texts.numbers[kept], return_inverse=True)
        return (self.embeddings[kept], self.texts.embeddings[known], own) if len(known) > 1 else None


def evenly_spread_places(count: int) -> np.ndarray:
    """At most MOST_ASKED of so many places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_ASKED)).astype(np.int64))
