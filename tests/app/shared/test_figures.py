"""Curves of a run: what is drawn, thinned and left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.shared.figures import base_figure, moving_average, step_figure, thin_places
from app.shared.palette import contrast


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


def test_smoothing_goes_on_after_what_is_not_a_number():
    smoothed = moving_average(np.array([1.0, math.nan, 2.0]))
    assert smoothed.tolist() == [1.0, 1.0, 1.1]


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
    np.testing.assert_allclose(curve.y, [3.0, 2.8, 2.8], rtol=1e-6)
    assert not curve.showlegend
