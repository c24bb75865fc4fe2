"""Random batches in which every class comes equally often."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mlcore.samplers.epochs import count_coverage, draw_rows, epoch_generator, row_labels, rows_by_class
from mlcore.samplers.registry import SAMPLERS


@SAMPLERS.add(
    "balanced",
    title="Balanced classes",
    family="plain",
    aliases=("WeightedRandomSampler with class weights (torch)", "class-balanced sampling"),
)
class BalancedSampler:
    """Gives every class the same number of draws in an epoch (one more to some, where it does not divide).

    An epoch has as many draws as there are samples, filled up to whole batches. Within a class no sample comes again
    before all have come; a class larger than its share shows another part of itself in each epoch.

    What to expect: For proxy losses on uneven classes: rare classes are learned as well as common ones, at the price of
    seeing their few samples many times. For pair losses use m per class, which balances each batch.
    """

    visits_everyone = False

    def __init__(self, labels: ArrayLike, batch_size: int) -> None:
        self.labels = row_labels("balanced", labels)
        self.batch_size = batch_size
        if batch_size < 1:
            raise ValueError(f"balanced: batch_size must be at least 1; got {batch_size}.")
        self.rows_of_class = rows_by_class(self.labels)

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(batches, batch_size) positions into `labels`; depends on `epoch` and `seed` only."""
        rng = epoch_generator(epoch, seed)
        classes = len(self.rows_of_class)
        draws = -(-len(self.labels) // self.batch_size) * self.batch_size
        share = np.full(classes, draws // classes)
        share[rng.permutation(classes)[: draws % classes]] += 1
        rows = [draw_rows(of_class, count, rng) for of_class, count in zip(self.rows_of_class, share, strict=True)]
        return rng.permutation(np.concatenate(rows)).reshape(-1, self.batch_size)

    def coverage(self) -> dict[str, int]:
        """Samples and classes visited in an epoch, and how many there are."""
        return count_coverage(self.epoch(1, 0), self.labels)
