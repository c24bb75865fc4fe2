"""The sentence beside the angles says what the numbers say: where the margin is met, and whether it is."""

from __future__ import annotations

import math

import pytest

from app.lab.angle_words import angle_words, place_lines


def found(own: float, other: float, which: str = "proxies") -> dict:
    """Angles whose medians are these degrees."""
    keys = ("own_proxy", "nearest_other_proxy") if which == "proxies" else ("positive_pairs", "negative_pairs")
    records = [{"counts": [1], "median": math.radians(degrees)} for degrees in (own, other)]
    return {"bins": 1, "samples": 1, "of": 1} | dict(zip(keys, records, strict=True))


def line(kind: str, value: float, between: str = "proxies") -> dict:
    return {"text": "m", "between": between, "kind": kind, "value": value}


@pytest.mark.parametrize(("other", "met"), [(35.0, "typically it is met."), (15.0, "typically it is not met yet.")])
def test_a_margin_is_met_where_the_next_proxy_lies_right_of_the_line(other, met):
    words = angle_words(found(5.0, other), "proxies", [line("angle", math.radians(17.0))])
    assert words == (
        "The margin is met where “nearest other proxy” lies right of the dashed line. Medians now: line 22°, "
        f"nearest other proxy {other:.0f}°: {met}"
    )


def test_a_margin_in_cosine_is_placed_as_the_picture_places_it():
    angles, lines = found(60.0, 80.0), [line("cosine", 0.5)]
    assert place_lines(angles, "proxies", lines) == [(pytest.approx(math.pi / 2), "m")]
    assert "line 90°, nearest other proxy 80°: typically it is not met yet." in angle_words(angles, "proxies", lines)


@pytest.mark.parametrize(
    ("own", "other", "now"),
    [(20, 90, "both are"), (20, 60, "only the first is"), (50, 90, "only the second is"), (50, 60, "neither is")],
)
def test_fixed_lines_are_one_for_each_of_the_two(own, other, now):
    lines = [line("fixed", math.radians(40), "pairs"), line("fixed", math.radians(70), "pairs")]
    assert angle_words(found(own, other, "pairs"), "pairs", lines) == (
        "“Same class” should lie left of the first dashed line, “different classes” right of the last. "
        f"Medians now: {own}° and {other}°: {now}."
    )


def test_one_fixed_line_is_for_both():
    words = angle_words(found(20, 90, "pairs"), "pairs", [line("fixed", 1.0, "pairs")])
    assert "left of the dashed line, “different classes” right of the dashed line" in words


def test_without_a_line_the_two_are_compared():
    words = angle_words(found(20, 90), "proxies", [line("fixed", 1.0, "pairs")])
    assert words == ("Training should move “own proxy” left and “nearest other proxy” right. Medians now: 20° and 90°.")
    assert angle_words({"bins": 1, "samples": 1, "of": 1}, "proxies", []) == ""
