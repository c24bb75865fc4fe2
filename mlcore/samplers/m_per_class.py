"""Batches with m samples of each of their classes, and epochs that leave nobody out."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from mlcore.declare import Knob
from mlcore.samplers.epochs import count_coverage, epoch_generator, row_labels
from mlcore.samplers.registry import SAMPLERS


@SAMPLERS.add(
    "m_per_class",
    title="m per class",
    family="balanced",
    aliases=("MPerClassSampler (pytorch-metric-learning)", "balanced batch sampler", "PK sampler"),
)
class MPerClassSampler:
    """Fills each batch with m samples of each of batch_size / m classes.

    Each class is cut into groups of m, the last one filled up with other samples of that class (with repeats where it
    has fewer than m). A batch takes the classes that have most groups left, so that an epoch visits every sample in
    as few batches as can be. Where a large class outlasts the others, those are drawn again to keep it company. Where
    there are fewer classes than places for them, each has a multiple of m samples in the batch.

    What to expect: Pair and triplet losses need it. With few samples per class m = 4 is a good start; a larger m
    gives more positives and fewer classes per batch.

    Raises: ValueError if batch_size is not a multiple of m.
    """

    def __init__(
        self,
        labels: ArrayLike,
        batch_size: int,
        *,
        m: Annotated[int, Knob("Samples of each class in a batch.", 1, 64, symbol="m", title="Samples per class")] = 4,
    ) -> None:
        self.labels = row_labels("m_per_class", labels)
        self.batch_size = batch_size
        self.m = m
        _, self.class_of_row = np.unique(self.labels, return_inverse=True)
        if batch_size < m or batch_size % m:
            raise ValueError(
                f"m_per_class: batch_size must be a multiple of m = {m}; got {batch_size}. "
                f"Pass batch_size={max(1, round(batch_size / m)) * m}, or another m."
            )
        by_class = np.argsort(self.class_of_row, kind="stable")
        self.rows_of_class = np.split(by_class, np.bincount(self.class_of_row).cumsum()[:-1])

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(batches, batch_size) positions into `labels`; depends on `epoch` and `seed` only."""
        rng = epoch_generator(epoch, seed)
        groups = [self.groups(rows, rng) for rows in self.rows_of_class]
        left = np.array([len(group) for group in groups])
        per_batch = self.batch_size // self.m
        batches = []
        while left.max() > 0:
            chosen = take_classes(left, per_batch, rng)
            batches.append(np.concatenate([self.next_group(groups, chosen_class, rng) for chosen_class in chosen]))
        return np.stack(batches)[rng.permutation(len(batches))]

    def groups(self, rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """`rows` of one class in random order, cut into groups of m; the last one is filled up from the class."""
        order = rng.permutation(rows)
        if len(order) < self.m:
            return [np.resize(order, self.m)]
        missing = -len(order) % self.m
        return list(np.concatenate([order, order[:missing]]).reshape(-1, self.m))

    def next_group(self, groups: list[list[np.ndarray]], of_class: int, rng: np.random.Generator) -> np.ndarray:
        if not groups[of_class]:
            groups[of_class] = self.groups(self.rows_of_class[of_class], rng)
        return groups[of_class].pop()

    def coverage(self) -> dict[str, int]:
        """Samples and classes visited in an epoch, and how many there are."""
        return count_coverage(self.epoch(1, 0), self.labels)


def take_classes(left: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` classes, those with most groups left first, chance breaking ties; takes their groups off `left`.

    All classes come once before one comes again. A count below zero means drawn again, and so less likely to be the
    next company.
    """
    chosen = []
    for start in range(0, count, len(left)):
        order = np.argsort(-(left + rng.random(len(left))), kind="stable")[: count - start]
        left[order] -= 1
        chosen.append(order)
    return np.concatenate(chosen)
