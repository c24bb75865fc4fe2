"""Plain random batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mlcore.samplers.epochs import count_coverage, epoch_generator, row_labels
from mlcore.samplers.registry import SAMPLERS


@SAMPLERS.add("shuffle", title="Shuffle", family="plain", aliases=("shuffle=True (torch DataLoader)", "RandomSampler"))
class ShuffleSampler:
    """Draws every sample once per epoch, in random order.

    The last batch is filled up with samples of earlier batches, so that all are of one size. Where there are fewer
    samples than a batch holds, each batch is all of them.

    What to expect: Right for proxy losses. With many classes a batch may hold no two samples of one class, and a pair
    or triplet loss then learns nothing from it: use m per class.

    Raises: ValueError for a batch of no sample.
    """

    def __init__(self, labels: ArrayLike, batch_size: int) -> None:
        self.labels = row_labels("shuffle", labels)
        if batch_size < 1:
            raise ValueError(f"shuffle: batch_size must be at least 1; got {batch_size}.")
        self.batch_size = min(batch_size, len(self.labels))

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(batches, batch_size) positions into `labels`; depends on `epoch` and `seed` only."""
        order = epoch_generator(epoch, seed).permutation(len(self.labels))
        missing = -len(order) % self.batch_size
        return np.concatenate([order, order[:missing]]).reshape(-1, self.batch_size)

    def coverage(self) -> dict[str, int]:
        """Samples and classes visited in an epoch, and how many there are."""
        return count_coverage(self.epoch(1, 0), self.labels)
