"""Batches from a set of triplets that was drawn once."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from mlcore.declare import Knob
from mlcore.samplers.epochs import count_coverage, epoch_generator, row_labels, rows_by_class
from mlcore.samplers.registry import SAMPLERS


@SAMPLERS.add(
    "fixed_triplets",
    title="Fixed set of triplets",
    family="triplets",
    aliases=("FixedSetOfTriplets (pytorch-metric-learning)",),
)
class FixedSetOfTriplets:
    """Draws a set of triplets once and shows these and no others, in another order each epoch.

    For trying how a method does when triplets are all that is known. Each triplet has two classes drawn at random,
    anchor and positive from one, the negative from the other; the anchor is never its own positive (in
    pytorch-metric-learning it is, in classes of one sample, which here give negatives only). A batch holds anchor,
    positive, negative, anchor and so on; the last one is filled up with triplets of earlier batches.

    What to expect: Use it with the miner "already packaged as triplets". An epoch visits only the samples that stand in
    some triplet: about three new ones per triplet at first, hardly any once the set is large.

    Raises: ValueError if batch_size is not a multiple of 3, or the labels allow no triplet.
    """

    visits_everyone = False
    rows_together = 3

    def __init__(
        self,
        labels: ArrayLike,
        batch_size: int,
        *,
        num_triplets: Annotated[int, Knob("Triplets in the set.", 1, 1_000_000, log=True)] = 1000,
        set_seed: Annotated[int, Knob("Which set: it stays the same in all epochs.", 0, 2**31 - 1)] = 0,
    ) -> None:
        self.labels = row_labels("fixed_triplets", labels)
        self.batch_size = batch_size
        if batch_size < 3 or batch_size % 3:
            raise ValueError(
                f"fixed_triplets: batch_size must be a multiple of 3; got {batch_size}. "
                f"Pass batch_size={max(1, round(batch_size / 3)) * 3}."
            )
        self.triplets = draw_triplets(rows_by_class(self.labels), num_triplets, np.random.default_rng(set_seed))

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(batches, batch_size) positions into `labels`; depends on `epoch` and `seed` only."""
        order = epoch_generator(epoch, seed).permutation(len(self.triplets))
        per_batch = self.batch_size // 3
        full = np.resize(order, -(-len(order) // per_batch) * per_batch)
        return self.triplets[full].reshape(-1, self.batch_size)

    def coverage(self) -> dict[str, int]:
        """Samples and classes visited in an epoch, and how many there are."""
        return count_coverage(self.epoch(1, 0), self.labels)


def draw_triplets(rows_of_class: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) rows: anchor, positive, negative."""
    sizes = np.array([len(rows) for rows in rows_of_class])
    starts = sizes.cumsum() - sizes
    rows = np.concatenate(rows_of_class)
    paired = np.flatnonzero(sizes > 1)
    if len(sizes) < 2 or len(paired) == 0:
        raise ValueError(
            f"fixed_triplets: needs two classes, one of them with two samples; got {len(sizes)} classes, the largest "
            f"with {sizes.max()}. Use another sampler."
        )
    own = rng.choice(paired, count)
    other = (own + rng.integers(1, len(sizes), count)) % len(sizes)
    anchor = rng.integers(0, sizes[own])
    positive = (anchor + rng.integers(1, sizes[own])) % sizes[own]
    negative = rng.integers(0, sizes[other])
    return np.stack([rows[starts[own] + anchor], rows[starts[own] + positive], rows[starts[other] + negative]], axis=1)
