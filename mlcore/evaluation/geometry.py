"""Angles: between samples of one class, of two classes, and between samples and class proxies.

Angles are radians; histograms count over 0 to 180 degrees, because that is how they are drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlcore.evaluation.array_checks import unit_rows, whole_labels

# Below this many samples of a class on average, a plain random sample holds too few positive pairs.
PER_CLASS = 8


class SampleAngles(NamedTuple):
    """For each sample, in radians (N,) float32; NaN where there is no such thing.

    `farthest_positive` and `nearest_negative` are over all the other samples given; `own_proxy` is the nearest proxy of
    the sample's class, `nearest_other_proxy` the nearest of all other classes.
    """

    farthest_positive: np.ndarray
    nearest_negative: np.ndarray
    own_proxy: np.ndarray
    nearest_other_proxy: np.ndarray


def angle_histograms(
    embeddings: np.ndarray,
    labels: np.ndarray,
    proxies: np.ndarray | None = None,
    proxy_labels: np.ndarray | None = None,
    bins: int = 90,
    max_points: int = 2000,
    seed: int = 0,
) -> dict[str, object]:
    """Count the angles in a sample of the embeddings; everything in the answer can be written as JSON.

    The answer holds `bins`, `samples` (how many were used) and `of` (how many were given), and for each of
    `positive_pairs`, `negative_pairs`, `own_proxy`, `nearest_other_proxy` a dict of `counts` (a list of `bins` whole
    numbers over 0 to 180 degrees) and `median` in radians, or None where there is nothing to count. The proxy parts
    count only samples whose class has a proxy.

    Up to `max_points` samples are drawn from the seed: at random, or, where that would leave fewer than 8 of a class,
    8 each from random classes, so that positive pairs are among them.

    Shapes: embeddings (N, D) float, not normalised; labels (N,) whole numbers; proxies (C, D), or (C, K, D) with K per
    class; proxy_labels (C,) whole numbers, 0 to C-1 if not given.
    """
    rows = _drawn(whole_labels(labels, len(embeddings), "angle_histograms"), max_points, seed)
    unit = unit_rows(np.asarray(embeddings)[rows], "angle_histograms")
    labels = np.asarray(labels)[rows].astype(np.int64)
    angles = _angles(unit @ unit.T)
    same = labels[:, None] == labels
    once = np.triu(np.ones(same.shape, bool), 1)
    own, other = _proxy_angles(unit, labels, proxies, proxy_labels, "angle_histograms")
    return {
        "bins": bins,
        "samples": len(rows),
        "of": len(embeddings),
        "positive_pairs": _histogram(angles[once & same], bins),
        "negative_pairs": _histogram(angles[once & ~same], bins),
        "own_proxy": _histogram(own[~np.isnan(own)], bins),
        "nearest_other_proxy": _histogram(other[~np.isnan(other)], bins),
    }


def sample_angles(
    embeddings: np.ndarray,
    labels: np.ndarray,
    proxies: np.ndarray | None = None,
    proxy_labels: np.ndarray | None = None,
) -> SampleAngles:
    """Return each sample's own angles, so that a bar of a histogram can name its samples.

    Shapes: as `angle_histograms`. Memory grows with N: a block of 1,000 rows against all N at a time.
    """
    unit = unit_rows(embeddings, "sample_angles")
    labels = whole_labels(labels, len(unit), "sample_angles")
    lowest, highest = np.full(len(unit), np.inf, np.float32), np.full(len(unit), -np.inf, np.float32)
    for start in range(0, len(unit), 1000):
        rows = np.arange(start, min(start + 1000, len(unit)))
        cosines = unit[rows] @ unit.T  # (B, N)
        same = labels[rows][:, None] == labels
        highest[rows] = np.where(same, -np.inf, cosines).max(axis=1)
        same[np.arange(len(rows)), rows] = False
        lowest[rows] = np.where(same, cosines, np.inf).min(axis=1)
    own, other = _proxy_angles(unit, labels, proxies, proxy_labels, "sample_angles")
    return SampleAngles(_angles(lowest), _angles(highest), own, other)


def _angles(cosines: np.ndarray) -> np.ndarray:
    """Radians of cosines; an infinite cosine stands for nothing to measure and gives NaN."""
    angles = np.arccos(np.clip(cosines, -1.0, 1.0))
    return np.where(np.isfinite(cosines), angles, np.nan).astype(np.float32, copy=False)


def _proxy_angles(
    unit: np.ndarray, labels: np.ndarray, proxies: np.ndarray | None, proxy_labels: np.ndarray | None, who: str
) -> tuple[np.ndarray, np.ndarray]:
    """Angles (N,) to the own and to the nearest other class's proxy, NaN for samples whose class has none."""
    if proxies is None:
        nothing = np.full(len(unit), np.nan, np.float32)
        return nothing, nothing
    proxies = np.asarray(proxies)
    per_class = 1 if proxies.ndim == 2 else proxies.shape[1]
    flat = unit_rows(proxies.reshape(-1, proxies.shape[-1]), who, "proxies")  # (C * K, D)
    if flat.shape[1] != unit.shape[1]:
        raise ValueError(f"{who}: proxies must have {unit.shape[1]} columns as embeddings; got {flat.shape[1]}.")
    names = np.arange(len(proxies)) if proxy_labels is None else proxy_labels
    names = whole_labels(names, len(proxies), f"{who}, proxy_labels")
    cosines = (unit @ flat.T).reshape(len(unit), len(proxies), per_class).max(axis=2)  # (N, C)
    same = labels[:, None] == names
    own = np.where(same, cosines, -np.inf).max(axis=1, initial=-np.inf)
    other = np.where(same, -np.inf, cosines).max(axis=1, initial=-np.inf)
    other[~same.any(axis=1)] = -np.inf
    return _angles(own), _angles(other)


def _histogram(angles: np.ndarray, bins: int) -> dict[str, object] | None:
    if len(angles) == 0:
        return None
    places = np.minimum((angles * np.float32(bins / np.pi)).astype(np.int64), bins - 1)
    return {"counts": np.bincount(places, minlength=bins).tolist(), "median": float(np.median(angles))}


def _drawn(labels: np.ndarray, max_points: int, seed: int) -> np.ndarray:
    """Rows of the sample, sorted."""
    if len(labels) <= max_points:
        return np.arange(len(labels))
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    classes, codes = np.unique(labels[shuffled], return_inverse=True)
    if max_points >= PER_CLASS * len(classes):
        return np.sort(shuffled[:max_points])
    # How many of its class came before each row, in shuffled order.
    by_class = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[by_class], np.arange(len(classes)))
    place = np.empty(len(labels), np.int64)
    place[by_class] = np.arange(len(labels)) - starts[codes[by_class]]
    turn = np.random.default_rng([seed, 1]).permutation(len(classes))[codes]  # (N,) when the row's class is called
    called = np.lexsort((place, turn, place >= PER_CLASS))
    return np.sort(shuffled[called[:max_points]])
