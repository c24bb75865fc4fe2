"""What an evaluation has of one side of a split; what several metrics need is computed once, when first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlcore.evaluation.array_checks import finite_rows, unit_rows
from mlcore.evaluation.clustering import clustered, has_groups
from mlcore.evaluation.ranking import Ranking, counts_of, own_hits, rank, ranked
from mlcore.evaluation.retrieval import can_be_wrong, nearest, quick_ranking

MOST_RANKED = 5000  # queries: two seconds of one core; twice as many take four times as long
RECALLS = (1, 2, 4, 8)
QUICK_DEPTH = 8  # the deepest recall that is told at every look
MOST_ASKED = 2000  # texts, or images, that search for each other
TEXT_DEPTH = 5


@dataclass(frozen=True, eq=False)
class SideTexts:
    """Texts beside images, embedded into the same space: those (T, D), and each image's own (N,), -1 for none."""

    embeddings: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a split, as metrics see it.

    `embeddings` (N, D) float, not normalised, and `labels` (N,) whole numbers are all its samples, which search among
    themselves unless `queries` (Q, D) with `query_labels` (Q,) ask a `gallery` (M, D) with `gallery_labels` (M,).
    `itself` (Q,) is then each query's own row in the gallery, -1 where it is not there. `texts`: where it has some.

    `depth` and `normalize`: see `rank`. `whole_gallery`: the gallery is sorted for each query however large it is, for
    all metrics; otherwise only those that need it do so, and have no value for more than MOST_RANKED queries.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    queries: np.ndarray | None = None
    query_labels: np.ndarray | None = None
    gallery: np.ndarray | None = None
    gallery_labels: np.ndarray | None = None
    itself: np.ndarray | None = None
    texts: SideTexts | None = None
    depth: int | None = None
    normalize: bool = True
    whole_gallery: bool = False
    ks: tuple[int, ...] = RECALLS

    @property
    def among_itself(self) -> bool:
        return self.gallery is None

    @cached_property
    def asked(self) -> np.ndarray:
        """(A,) places of the queries that have something of their class to find; the others count nowhere."""
        if self.among_itself:
            _, codes, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
            return np.flatnonzero(counts[codes] > 1)
        itself = np.full(len(self.query_labels), -1) if self.itself is None else self.itself
        own = own_hits(self.query_labels, self.gallery_labels, itself)
        return np.flatnonzero(counts_of(self.query_labels, self.gallery_labels) - own > 0)

    @property
    def can_be_wrong(self) -> bool:
        """Whether a search can find something wrong; where it cannot, its metrics say nothing of the embeddings."""
        return can_be_wrong(self.labels) if self.among_itself else len(np.unique(self.gallery_labels)) > 1

    @cached_property
    def ranking(self) -> Ranking:
        """Recalls at `ks`, precision at 1, R-precision and MAP@R of each query of `asked`, by name."""
        if self.whole_gallery:
            return self.rank_whole()
        if self.among_itself:
            return quick_ranking(self.embeddings, self.labels, self.ks)
        return self.rank(QUICK_DEPTH)

    @cached_property
    def whole_ranking(self) -> Ranking | None:
        """The same with `map` and `mrr`, for which all of the gallery is sorted; None for too many queries or none."""
        if self.whole_gallery:
            return self.ranking
        few = 0 < len(self.labels if self.among_itself else self.query_labels) <= MOST_RANKED
        return self.rank_whole() if few else None

    def rank_whole(self) -> Ranking:
        return self.rank(self.depth)

    def rank(self, depth: int | None) -> Ranking:
        how = {"ks": self.ks, "depth": depth, "normalize": self.normalize}
        if self.among_itself:
            return rank(self.embeddings, self.labels, **how)
        return rank(self.queries, self.query_labels, self.gallery, self.gallery_labels, itself=self.itself, **how)

    def hits(self, k: int) -> np.ndarray:
        """(A, k) whether each of the nearest k is of the query's class, nearest first; all columns that there are."""
        if self.among_itself:
            queries, labels, gallery, gallery_labels = self.embeddings, self.labels, self.embeddings, self.labels
            itself = np.arange(len(labels))
        else:
            queries, labels, gallery, gallery_labels = (
                self.queries, self.query_labels, self.gallery, self.gallery_labels
            )  # fmt: skip
            itself = np.full(len(labels), -1) if self.itself is None else self.itself
        prepare = unit_rows if self.normalize else finite_rows
        queries, gallery = prepare(queries, "hits", "queries"), prepare(gallery, "hits", "gallery")
        asked = self.asked
        depth = min(k, len(gallery) - bool((itself >= 0).any()))
        order = ranked(queries[asked], gallery, itself[asked], depth, True, self.normalize)
        return (gallery_labels[order] == labels[asked][:, None]) & (order != itself[asked][:, None])

    @cached_property
    def clusters(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Labels (N,) and numbers of k-means clusters (N,), as many as classes; None where no clusters can be wrong."""
        return clustered("clusters", self.embeddings, self.labels, 0) if has_groups(self.labels) else None

    @cached_property
    def text_hits(self) -> np.ndarray | None:
        """(A, up to 5) whether each text that asks finds an image of its own, nearest first; None for under two texts.

        Of more than MOST_ASKED texts or images every so many-th asks; all are searched.
        """
        if self._own_text is None:
            return None
        kept, known, own = self._own_text
        asking = evenly(len(known))
        gallery = self.embeddings[kept]
        found, _ = nearest(self.texts.embeddings[known][asking], min(TEXT_DEPTH, len(gallery)), gallery=gallery)
        return own[found] == asking[:, None]

    @cached_property
    def image_hits(self) -> np.ndarray | None:
        """(A,) whether the nearest text of each image that asks is its own; None for under two texts."""
        if self._own_text is None:
            return None
        kept, known, own = self._own_text
        asking = evenly(len(kept))
        named, _ = nearest(self.embeddings[kept][asking], 1, gallery=self.texts.embeddings[known])
        return named[:, 0] == own[asking]

    @cached_property
    def _own_text(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Places of the images with a text, which texts those are, and each image's place among these."""
        kept = np.flatnonzero(self.texts.numbers >= 0)
        known, own = np.unique(self.texts.numbers[kept], return_inverse=True)
        return (kept, known, own) if len(known) > 1 else None


def evenly(count: int) -> np.ndarray:
    """At most MOST_ASKED of so many places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_ASKED)).astype(np.int64))
