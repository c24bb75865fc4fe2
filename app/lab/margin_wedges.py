"""Where, on the circle of a two-dimensional embedding, a loss's margin is met: a wedge around each proxy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcore.runs.records import MarginLineRecord


def margin_wedges(proxies: np.ndarray, lines: Sequence[MarginLineRecord]) -> np.ndarray | None:
    """How far the margin is met on both sides of each proxy, clockwise and counterclockwise: (P, 2) float32, radians.

    An embedding of a class meets the margin m where, for every other proxy, angle(own) + m < angle(other) (lines of
    kind "angle"), or cos(own) - m > cos(other) (kind "cosine"). Only the two neighbours on the circle can end that,
    each on its own side (see `reach`). A margin on cosines may be met beside its proxy only, away from a near
    neighbour: then one side is negative. Both sides are 0 where it is met nowhere.

    None where no line says such a margin. Shapes: proxies (P, 2) float, one for each class.
    """
    margins = [line for line in lines if line["between"] == "proxies" and line["kind"] in ("angle", "cosine")]
    if len(margins) != 1 or len(proxies) < 2:
        return None
    turns = np.arctan2(proxies[:, 1], proxies[:, 0]).astype(np.float64)
    order = np.argsort(turns, kind="stable")
    gaps = np.diff(turns[order], append=turns[order[0]] + 2.0 * np.pi)  # from each proxy to the next, counterclockwise
    ahead = reach(gaps, margins[0])
    sides = np.stack([np.roll(ahead, 1), ahead], axis=1)
    sides[sides.sum(axis=1) <= 0.0] = 0.0
    wedges = np.empty(sides.shape, np.float32)
    wedges[order] = sides
    return wedges


def reach(gaps: np.ndarray, margin: MarginLineRecord) -> np.ndarray:
    """How far from a proxy the margin is met, on the way to a neighbour `gaps` radians from it; -inf for nowhere.

    At the distance x from the own proxy the neighbour is gap - x away. x + m < gap - x ends at gap/2 - m/2;
    cos(x) - m > cos(gap - x) ends at gap/2 - asin(m / (2 sin(gap/2))).
    """
    half, value = gaps / 2.0, margin["value"] / 2.0
    if margin["kind"] == "angle":
        return np.where(half > value, half - value, -np.inf)
    sines = np.sin(half)
    possible = sines > value
    return np.where(possible, half - np.arcsin(value / np.where(possible, sines, 1.0)), -np.inf)
