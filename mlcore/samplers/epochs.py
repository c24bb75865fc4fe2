"""What samplers share: their generator and the count of what an epoch visits."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike


class Sampler(Protocol):
    """Which rows each batch of an epoch is made of. `visits_everyone`: an epoch leaves no row out."""

    visits_everyone: bool

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(batches, batch_size) positions into the training rows."""

    def coverage(self) -> dict[str, int]:
        """What an epoch visits, against all there is."""


def epoch_generator(epoch: int, seed: int) -> np.random.Generator:
    """The random numbers of one epoch: the same for the same epoch and seed, whatever was drawn before."""
    return np.random.default_rng([seed, epoch])


def row_labels(owner: str, labels: ArrayLike) -> np.ndarray:
    """(N,) int64. Raises: ValueError unless there is one whole number per row, and at least one row."""
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{owner}: labels must be one whole number per training row; got {array.dtype} of shape {array.shape}. "
            "Pass the labels of the training rows."
        )
    return array.astype(np.int64)


def rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    """The positions of each class, in the order of the class numbers."""
    _, codes = np.unique(labels, return_inverse=True)
    return np.split(np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()[:-1])


def draw_rows(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of `rows` at random; none comes again before all have come."""
    rounds = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate(rounds)[:count] if rounds else rows[:0]


def count_coverage(batches: np.ndarray, labels: np.ndarray) -> dict[str, int]:
    """What one epoch's `batches` visit, against all there is."""
    visited = np.unique(batches)
    return {
        "batches": len(batches),
        "draws": int(batches.size),
        "samples_visited": len(visited),
        "samples": len(labels),
        "classes_visited": len(np.unique(labels[visited])),
        "classes": len(np.unique(labels)),
    }
