"""Where margins are drawn in a histogram of angles."""

from __future__ import annotations

import math

import pytest

from mlcore.margins import MarginLine


@pytest.mark.parametrize(
    ("kind", "value", "median", "angle"),
    [
        ("fixed", 0.4, 1.2, 0.4),
        ("angle", 0.5, 1.0, 1.5),
        ("angle", 0.5, 3.0, math.pi),
        ("cosine", 0.5, 0.0, math.pi / 3),
        ("cosine", 0.5, math.pi / 2, 2 * math.pi / 3),
        ("cosine", 1.0, 3.0, math.pi),
        ("distance", 1.0, 0.0, math.pi / 3),
        ("distance", math.sqrt(2) - 1.0, math.pi / 3, math.pi / 2),
        ("distance", 1.5, 2.0, math.pi),
    ],
)
def test_line_stands_at_the_margin_from_the_median(kind, value, median, angle):
    assert MarginLine("margin", "pairs", kind, value).place(median) == pytest.approx(angle)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="kind must be one of fixed, angle, cosine, distance; got 'degrees'"):
        MarginLine("margin", "pairs", "degrees", 0.5)
    with pytest.raises(ValueError, match="between must be 'proxies' or 'pairs'"):
        MarginLine("margin", "classes", "angle", 0.5)
