"""The two things every measure takes: embeddings as unit rows, and labels as whole numbers."""

from __future__ import annotations

import numpy as np


def finite_rows(values: np.ndarray, who: str, what: str = "embeddings") -> np.ndarray:
    """Return `values` as a contiguous (N, D) float32 array, not copied if it is one already.

    Raises: ValueError if it isn't two-dimensional, has no column, or holds NaN or infinity.
    """
    rows = np.ascontiguousarray(values, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"{who}: {what} must be a table (N, D) with D >= 1; got shape {np.shape(values)}.")
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(axis=1).sum())
        raise ValueError(
            f"{who}: {what} must be finite; {bad} of {len(rows)} rows hold NaN or infinity. "
            "The network has diverged: lower the learning rate, or leave these rows out."
        )
    return rows


def unit_rows(embeddings: np.ndarray, who: str, what: str = "embeddings") -> np.ndarray:
    """Return (N, D) float32 rows of length one; a row of zeros stays zero and is at 90 degrees to everything."""
    rows = finite_rows(embeddings, who, what)
    # Divided by the largest entry first: the square of a large float32 would overflow.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows = rows / np.where(largest > 0, largest, 1)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    rows /= np.where(lengths > 0, lengths, 1)
    return rows


def whole_labels(labels: np.ndarray, count: int, who: str) -> np.ndarray:
    """Return labels (N,) int64.

    Floats are refused rather than rounded: above 2**24 float32 skips whole numbers, so large ids would collide.
    Raises: ValueError if they aren't integers or aren't one per row.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"{who}: labels must be whole numbers (int64); got {labels.dtype}. Pass labels.astype('int64')."
        )
    if labels.shape != (count,):
        raise ValueError(f"{who}: labels must be one per embedding, shape ({count},); got shape {labels.shape}.")
    return labels.astype(np.int64, copy=False)
