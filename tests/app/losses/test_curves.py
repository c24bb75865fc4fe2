"""Numbers behind the explainer pictures, against the losses asked one batch at a time."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from app.losses import curves, loss_figures
from mlcore.losses import LOSSES

ROOT = Path(__file__).resolve().parents[3]
PROXY = [spec for spec in LOSSES.values() if curves.compares_with(spec) == "proxies"]
PAIR = [spec for spec in LOSSES.values() if curves.compares_with(spec) == "pairs"]
AWAY_FROM_KINKS = (33.0, 74.0, 101.0, 139.0)


def by_key(spec):
    return spec.key


def extremes(spec):
    """The defaults with one knob after the other at each end of its range."""
    for param in spec.params:
        for bound in param.knob.choices or (param.knob.low, param.knob.high):
            if bound is not None:
                yield spec.defaults() | {param.name: bound}
        if param.kind == "bool":
            yield spec.defaults() | {param.name: not param.default}


def differentiable(spec):
    """Skip a loss that declares that its gradient is not that of its value."""
    if reason := getattr(spec.load(), "detached", ""):
        pytest.skip(reason)


def unit(*coordinates):
    return torch.tensor([coordinates], dtype=torch.float64)


def test_every_declared_loss_has_a_picture_or_says_why_not():
    pictured = {spec.key for spec in PROXY + PAIR}
    assert all((spec.key in pictured) != bool(spec.unpictured) for spec in LOSSES.values())


@pytest.mark.parametrize("spec", PROXY, ids=by_key)
def test_the_slope_by_the_own_proxy_is_that_of_the_loss(spec, monkeypatch):
    differentiable(spec)
    for angle in AWAY_FROM_KINKS:
        monkeypatch.setattr(curves, "CURVE", np.array([angle - 1e-3, angle, angle + 1e-3]))
        curve = curves.own_proxy_curve(spec, spec.defaults(), 90.0)
        rise = (curve.loss[2] - curve.loss[0]) / math.radians(2e-3)
        assert curve.slope[1] == pytest.approx(rise, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("moving", ["positive", "negative"])
@pytest.mark.parametrize("spec", PAIR, ids=by_key)
def test_the_slope_by_a_pair_is_that_of_the_loss(spec, moving, monkeypatch):
    differentiable(spec)
    for angle in AWAY_FROM_KINKS:
        monkeypatch.setattr(curves, "CURVE", np.array([angle - 1e-3, angle, angle + 1e-3]))
        curve = curves.pair_curve(spec, spec.defaults(), moving, 50.0)
        rise = (curve.loss[2] - curve.loss[0]) / math.radians(2e-3)
        assert curve.slope[1] == pytest.approx(rise, rel=1e-4, abs=1e-5)


def test_arcface_is_the_papers_two_class_softmax_while_angle_plus_margin_is_below_a_half_turn():
    curve = curves.own_proxy_curve(LOSSES["arcface"], {"margin": 0.5, "scale": 8.0}, 70.0)
    below = curve.degrees < 150
    logit = 8.0 * (math.cos(math.radians(70.0)) - np.cos(np.radians(curve.degrees[below]) + 0.5))
    np.testing.assert_allclose(curve.loss[below], np.log1p(np.exp(logit)), rtol=1e-9)


@pytest.mark.parametrize("spec", PROXY, ids=by_key)
def test_each_sample_on_the_circle_has_the_loss_of_a_batch_of_its_own(spec):
    found = curves.proxy_circle(spec, spec.defaults(), 100.0)
    loss = curves.warm_up(spec.build({"num_classes": 3, "embedding_size": 2}).double())
    with torch.no_grad():
        curves.place_proxies(loss, found.proxies)
    for place in range(0, len(found.directions), 17):
        angle = math.radians(found.directions[place])
        for label in range(3):
            expected = loss(unit(math.cos(angle), math.sin(angle)), torch.tensor([label])).item()
            assert found.losses[place, label] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("spec", PROXY, ids=by_key)
def test_the_nearest_proxy_wins_every_direction(spec):
    found = curves.proxy_circle(spec, spec.defaults(), 80.0)
    between = np.abs((found.directions[:, None] - found.proxies + 180.0) % 360.0 - 180.0)
    nearest = np.sort(between, axis=1)
    clear = nearest[:, 1] - nearest[:, 0] > 1e-6
    np.testing.assert_array_equal(found.winners[clear], between.argmin(axis=1)[clear])


@pytest.mark.parametrize("spec", PAIR, ids=by_key)
def test_many_pairs_in_one_call_lose_what_each_loses_alone(spec):
    found = curves.pair_plane(spec, spec.defaults())
    loss = spec.build().double()
    for row in range(3, len(found.degrees), 19):
        for column in range(2, len(found.degrees), 19):
            p, n = math.radians(found.degrees[column]), math.radians(found.degrees[row])
            others = torch.cat([unit(math.cos(p), math.sin(p), 0.0), unit(math.cos(n), 0.0, math.sin(n))])
            alone = loss(unit(1.0, 0.0, 0.0), torch.tensor([0]), ref_emb=others, ref_labels=torch.tensor([0, 1]))
            assert found.loss[row, column] == pytest.approx(alone.item(), abs=1e-7)


def test_pull_and_push_are_the_slopes_of_the_lines_through_the_plane():
    spec = LOSSES["multi_similarity"]
    found = curves.pair_plane(spec, spec.defaults())
    at = 20
    up = curves.pair_curve(spec, spec.defaults(), "negative", found.degrees[at])
    across = curves.pair_curve(spec, spec.defaults(), "positive", found.degrees[at])
    np.testing.assert_allclose(found.push[:, at], -np.interp(found.degrees, up.degrees, up.slope), atol=0.02)
    np.testing.assert_allclose(found.pull[at], np.interp(found.degrees, across.degrees, across.slope), atol=0.02)


@pytest.mark.parametrize("spec", PROXY, ids=by_key)
def test_proxy_pictures_stay_finite_at_the_ends_of_every_knob(spec):
    for values in extremes(spec):
        curve = curves.own_proxy_curve(spec, values, 90.0)
        found = curves.proxy_circle(spec, values, 120.0)
        assert all(np.isfinite(table).all() for table in (curve.loss, curve.slope, found.losses)), values


@pytest.mark.parametrize("spec", PAIR, ids=by_key)
def test_pair_pictures_stay_finite_at_the_ends_of_every_knob(spec):
    for values in extremes(spec):
        plane, shares = curves.pair_plane(spec, values), curves.batch_shares(spec, values)
        assert all(np.isfinite(table).all() for table in (plane.loss, plane.pull, plane.push)), values
        for side in (shares.pull, shares.push):
            assert np.abs(side).sum() == pytest.approx(1.0) or not side.any(), values


def test_a_negative_that_a_loss_with_a_sharp_softmax_finds_hardest_gets_nearly_all_the_push():
    push = curves.batch_shares(LOSSES["multi_similarity"], {"beta": 200.0}).push
    assert push.argmax() == 0
    assert push[0] > 0.9


def test_an_angular_margin_is_a_band_of_its_own_width_before_the_other_proxy():
    low, high = curves.margin_on_axis(LOSSES["arcface"], {"margin": 0.5}, "own", 90.0).band
    assert high == 90.0
    assert high - low == pytest.approx(math.degrees(0.5), abs=curves.TURNED_IN)


def test_a_distance_margin_is_a_band_behind_the_positive_where_the_hinge_still_pushes():
    spec, values = LOSSES["triplet_margin"], {"margin": 0.3}
    low, high = curves.margin_on_axis(spec, values, "negative", 40.0).band
    curve = curves.pair_curve(spec, values, "negative", 40.0)
    assert low == 40.0
    assert (curve.loss[curve.degrees < high - 0.01] > 0).all()
    assert (curve.loss[curve.degrees > high + 0.01] == 0).all()


def test_fixed_margins_stand_where_the_loss_says_whatever_the_other_angle():
    found = curves.margin_on_axis(LOSSES["contrastive"], {"pos_margin": 0.0, "neg_margin": 1.0}, "positive", 20.0)
    assert [angle for angle, _ in found.lines] == pytest.approx([0.0, 60.0])
    assert found.band == pytest.approx((0.0, 60.0))


def test_a_wider_margin_leaves_more_directions_unmet():
    spec = LOSSES["cosface"]
    unmet = [curves.proxy_circle(spec, {"margin": margin}, 120.0).unmet.sum() for margin in (0.0, 0.2, 0.4)]
    assert unmet[0] == 0
    assert unmet[0] < unmet[1] < unmet[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_same_numbers_give_the_same_figures_byte_for_byte(theme):
    proxies, pairs = PROXY[0], PAIR[0]

    def drawn():
        margin = curves.margin_on_axis(proxies, proxies.defaults(), "own", 90.0)
        curve = curves.own_proxy_curve(proxies, proxies.defaults(), 90.0)
        circle = curves.proxy_circle(proxies, proxies.defaults(), 120.0)
        plane = curves.pair_plane(pairs, pairs.defaults())
        colours = ["#0072b2", "#e69f00", "#009e73"]
        return [
            loss_figures.penalty_figure(curve, None, margin, (90.0, "other"), theme).to_json(),
            loss_figures.circle_figure(circle, 0, "ABC", colours, theme).to_json(),
            loss_figures.plane_figure(plane.degrees, plane.pull, 1.0, (40.0, 60.0), "pull", theme).to_json(),
            loss_figures.shares_figure(curves.batch_shares(pairs, pairs.defaults()), theme).to_json(),
        ]

    assert drawn() == drawn()


def test_arcs_cover_the_whole_circle_once():
    found = loss_figures.circle_arcs(curves.proxy_circle(PROXY[0], PROXY[0].defaults(), 120.0))
    assert found[0][2] == pytest.approx(0.0)
    assert found[-1][3] == pytest.approx(360.0)
    assert all(one[3] == pytest.approx(other[2]) for one, other in itertools.pairwise(found))


def test_the_explainers_import_without_torch():
    code = "import sys; import app.losses.loss_page, app.losses.loss_pictures; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
