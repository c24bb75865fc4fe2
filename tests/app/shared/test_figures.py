"""Curves of a run: what is drawn, thinned and left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.shared.figures import (
    angle_figure,
    angle_range,
    base_figure,
    local_average,
    metric_figure,
    step_figure,
    thin_places,
)
from app.shared.palette import contrast
from mlcore.evaluation.metrics import METRICS


def test_a_long_curve_is_thinned_and_keeps_both_ends():
    places = thin_places(5000)
    assert len(places) == 200
    assert places[0] == 0
    assert places[-1] == 4999


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_the_mouse_brings_up_can_be_read_on_its_ground(theme):
    layout = base_figure(theme, 100, x="step", y="loss").layout
    assert contrast(layout.hoverlabel.font.color, layout.hoverlabel.bgcolor) > 7
    assert contrast(layout.modebar.color, layout.modebar.bgcolor) > 7


def smooth_all(values: np.ndarray) -> np.ndarray:
    return local_average(values, np.arange(len(values)))


@pytest.mark.parametrize("count", [30, 300, 1500])
def test_a_smoothed_falling_curve_lies_within_its_data(count):
    progress = np.linspace(0.0, 1.0, count)
    noise = 0.3 * np.random.default_rng(count).normal(size=count)
    for falling in (8.0 - 6.0 * progress, 0.5 + 7.5 * np.exp(-5.0 * progress)):
        smoothed = smooth_all(falling + noise)
        above = smoothed - falling - noise
        assert abs(above.mean()) < 0.1  # of a fall by 6 or 7.5
        assert abs(above[: count // 3].mean()) < 0.2  # nor where it falls most
        if count >= 300:
            assert np.std(smoothed - falling) < 0.5 * np.std(noise)


def test_a_straight_line_is_its_own_local_average():
    line = np.linspace(5.0, -3.0, 400)
    np.testing.assert_allclose(smooth_all(line), line, atol=1e-12)


def test_smoothing_passes_over_what_is_not_a_number():
    assert smooth_all(np.array([1.0, math.nan, 2.0])).tolist() == [1.0, 1.5, 2.0]
    assert smooth_all(np.array([1.0, math.inf])).tolist()[0] == 1.0
    assert np.isnan(smooth_all(np.array([math.nan]))).all()


def test_several_values_of_a_step_are_told_apart_by_colour_dash_and_name():
    series = {"backbone": [1e-4, 1e-4], "head": [1e-3, 5e-4], "proxies": [1e-2, None]}
    figure = step_figure([1, 2], series, 10, "dark")
    assert [trace.name for trace in figure.data] == list(series)
    assert len({trace.line.color for trace in figure.data}) == 3
    assert len({trace.line.dash for trace in figure.data}) == 3
    assert all(trace.showlegend for trace in figure.data)
    assert figure.layout.xaxis.range == (0, 10)


def test_a_smooth_curve_has_its_values_behind_it():
    figure = step_figure([1, 2, 3], {"Training loss": [3.0, 1.0, None]}, 3, "light", smooth=True)
    behind, curve = figure.data
    assert behind.opacity < curve.opacity
    np.testing.assert_allclose(behind.y, [3.0, 1.0, math.nan])
    np.testing.assert_allclose(curve.y, [3.0, 2.0, math.nan])
    assert not curve.showlegend


def histogram(*degrees: float) -> dict:
    counts = np.histogram(degrees, bins=90, range=(0, 180))[0].tolist()
    return {"counts": counts, "median": math.radians(float(np.median(degrees)))}


def angles(own: tuple[float, ...], other: tuple[float, ...]) -> dict:
    return {"bins": 90, "samples": 3, "of": 3, "own_proxy": histogram(*own), "nearest_other_proxy": histogram(*other)}


def test_the_axis_of_angles_follows_the_data_in_steps_of_thirty_degrees():
    now, before = angles((1, 5, 9), (31, 35, 41)), angles((1, 50, 85), (5, 40, 100))
    assert angle_range((now, None), "proxies", []) == (0, 60)
    assert angle_range((now, None), "proxies", [math.radians(75)]) == (0, 90)
    assert angle_range((now, before), "proxies", []) == (0, 120)
    assert angle_range((angles((71,), (101,)), None), "proxies", []) == (60, 120)
    assert angle_range((angles((0.5,), (179.5,)), None), "proxies", []) == (0, 180)
    assert angle_range((now, None), "pairs", []) == (0, 180)
    assert angle_figure(now, before, "proxies", [], "light").layout.xaxis.range == (0, 120)


def test_the_axis_of_angles_stands_still_while_what_is_drawn_stays_inside_what_was_before():
    before = angles((1, 50, 85), (5, 40, 100))
    moving = [angles((1 + step, 30 - step), (40 + step, 80)) for step in range(20)]
    assert {angle_range((now, before), "proxies", [math.radians(20)]) for now in moving} == {(0, 120)}


def test_both_befores_of_a_metric_have_their_names():
    first = {"step": 0, "held_out": {"map_at_r": 0.2}, "train": {}, "backbone": {"map_at_r": 0.5}, "angles": {}}
    figure = metric_figure([first], METRICS["map_at_r"], 10, None, "light")
    said = {words.text: (words.y, words.yanchor) for words in figure.layout.annotations}
    assert said == {"untrained embedding .200": (0.2, "bottom"), "backbone's own features .500": (0.5, "bottom")}
    assert [shape.y0 for shape in figure.layout.shapes] == [0.2, 0.5]
    assert len({shape.line.dash for shape in figure.layout.shapes}) == 2


@pytest.mark.parametrize("backbone", [None, {"map_at_r": 0.2}])
def test_there_is_one_before_where_both_are_the_same(backbone):
    first = {"step": 0, "held_out": {"map_at_r": 0.2}, "train": {}, "backbone": backbone, "angles": {}}
    figure = metric_figure([first], METRICS["map_at_r"], 10, None, "light")
    assert [words.text for words in figure.layout.annotations] == ["untrained embedding .200"]


def test_names_of_two_befores_that_are_close_do_not_lie_on_each_other():
    first = {"step": 0, "held_out": {"map_at_r": 0.45}, "train": {}, "backbone": {"map_at_r": 0.5}, "angles": {}}
    figure = metric_figure([first], METRICS["map_at_r"], 10, None, "light")
    assert [words.yanchor for words in figure.layout.annotations] == ["top", "bottom"]


def test_names_of_two_low_befores_stand_at_either_end():
    first = {"step": 0, "held_out": {"map_at_r": 0.22}, "train": {}, "backbone": {"map_at_r": 0.27}, "angles": {}}
    figure = metric_figure([first], METRICS["map_at_r"], 10, None, "light")
    assert [words.xanchor for words in figure.layout.annotations] == ["left", "right"]
