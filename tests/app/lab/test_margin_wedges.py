"""Wedges on the circle: inside them the margin is met, outside it is not, whatever the loss adds it to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.lab.margin_wedges import margin_wedges
from app.lab.panels import wedge_words
from mlcore.losses import LOSSES
from mlcore.runs.records import MarginLineRecord

SIZES = {"num_classes": 6, "embedding_size": 2}


def proxies_at(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def line(value: float, kind: str = "angle", between: str = "proxies") -> MarginLineRecord:
    return {"text": "margin", "between": between, "kind": kind, "value": value}


def is_met(turn: float, own: int, turns: np.ndarray, margin: MarginLineRecord) -> bool:
    """The margin's own words, with every other proxy asked."""
    away = np.abs((turns - turn + math.pi) % (2 * math.pi) - math.pi)
    others = np.delete(away, own)
    if margin["kind"] == "angle":
        return bool(away[own] + margin["value"] < others.min())
    return bool(math.cos(away[own]) - margin["value"] > np.cos(others).max())


@pytest.mark.parametrize("kind", ["angle", "cosine"])
@pytest.mark.parametrize("count", [2, 3, 6, 10])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 0.7, 1.4])
def test_the_margin_is_met_inside_a_wedge_and_nowhere_else(kind, count, value):
    turns = np.random.default_rng(count).uniform(-math.pi, math.pi, count)
    margin = line(value, kind)
    wedges = margin_wedges(proxies_at(list(np.degrees(turns))), [margin])
    assert wedges is not None
    for own, (clockwise, counterclockwise) in enumerate(wedges):
        for away in np.linspace(-math.pi, math.pi, 721):
            edge = min(abs(away + clockwise), abs(away - counterclockwise))
            if edge > 1e-3:
                inside = -clockwise < away < counterclockwise
                assert inside == is_met(turns[own] + away, own, turns, margin), (own, away)


def test_ten_even_stars_have_wedges_that_shrink_by_half_the_margin_on_each_side():
    even = proxies_at([36.0 * place for place in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)])
    for margin in (0.0, 0.3, 0.6):
        np.testing.assert_allclose(margin_wedges(even, [line(margin)]), math.radians(18) - margin / 2, atol=1e-6)
    assert margin_wedges(even, [line(0.64)]).tolist() == [[0.0, 0.0]] * 10


def test_a_star_whose_neighbour_is_nearer_than_the_margin_has_no_wedge_at_all():
    wedges = margin_wedges(proxies_at([0, 10, 180]), [line(0.3)])
    assert wedges[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(wedges[2], [math.radians(85) - 0.15, math.radians(90) - 0.15], atol=1e-6)
    assert wedge_words(wedges) == "wedge: where the margin is met; 2 stars without one: another is too near"
    assert wedge_words(wedges[2:]) == "wedge: where the margin is met"
    assert wedge_words(None) == ""


def test_the_whole_circle_is_not_torn_where_angles_wrap():
    wedges = margin_wedges(proxies_at([170, -170, 0]), [line(0.0)])
    np.testing.assert_allclose(wedges, np.radians([[85, 10], [10, 85], [85, 85]]), atol=1e-6)


@pytest.mark.parametrize(
    "lines",
    [[], [line(0.3, "fixed")], [line(0.3, between="pairs")], [line(0.3, "distance")], [line(0.3), line(0.2)]],
)
def test_there_are_no_wedges_where_no_line_says_such_a_margin(lines):
    assert margin_wedges(proxies_at([0, 120, 240]), lines) is None


@pytest.mark.parametrize(
    ("key", "drawn"), [("arcface", True), ("cosface", True), ("proxy_anchor", False), ("circle_cl", False)]
)
def test_which_losses_have_wedges(key, drawn):
    lines = [found.record() for found in LOSSES[key].build(SIZES).margin_lines()]
    assert (margin_wedges(proxies_at([0, 60, 120, 180, 240, 300]), lines) is not None) == drawn
