"""Means and deviations by hand, and what keeps runs apart."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.evaluation.mean_std import Spread, differing_settings, gain_over_start, mean_and_std, spread_by_metric


def test_mean_and_deviation_are_those_of_numpy_with_n_less_one():
    values = np.random.default_rng(0).random(7).tolist()
    found = mean_and_std(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert found.values == values


def test_three_values_by_hand():
    assert mean_and_std([0.5, 0.6, 0.7]) == (pytest.approx(0.6), pytest.approx(0.1), [0.5, 0.6, 0.7])


def test_one_value_has_no_deviation_and_one_that_is_missing_no_mean():
    assert mean_and_std([0.25]) == Spread(0.25, None, [0.25])
    assert mean_and_std([0.25]).in_words() == "0.250"
    assert mean_and_std([0.25, None]) == Spread(None, None, [0.25, None])
    assert mean_and_std([0.25, None]).in_words() == "-"
    assert mean_and_std([0.5, 0.6, 0.7]).in_words() == "0.600 ± 0.100"


@pytest.mark.parametrize(("values", "words"), [([], "at least one value"), ([0.1, float("nan")], "must be finite")])
def test_what_has_no_spread_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        mean_and_std(values)


def test_figures_that_not_all_runs_have_are_left_out():
    found = spread_by_metric([{"nmi": 0.1, "map_at_r": 0.2, "ami": 0.3}, {"map_at_r": 0.4, "nmi": 0.3}])
    assert list(found) == ["nmi", "map_at_r"]
    assert found["map_at_r"].mean == pytest.approx(0.3)
    assert spread_by_metric([]) == {}


def test_gains_are_of_each_run_over_itself():
    found = gain_over_start(
        [{"nmi": 0.75, "mrr": None}, {"nmi": 0.5}], [{"nmi": 0.25, "mrr": 0.5}, {"nmi": 0.5, "map": 0.5}]
    )
    assert found == [{"nmi": 0.5, "mrr": None}, {"nmi": 0.0}]


def test_only_seed_and_name_may_differ():
    first = {"seed": 0, "name": "a", "loss": {"key": "arcface", "params": {"margin": 0.5}}, "budget": {"steps": 3}}
    alike = first | {"seed": 1, "name": "b"}
    assert differing_settings([first, alike]) == {}
    other = first | {"loss": {"key": "supcon", "params": {"temperature": 0.1}}, "budget": {"steps": 4}}
    assert differing_settings([first, alike, other]) == {
        "loss.key": ["arcface", "arcface", "supcon"],
        "budget.steps": [3, 3, 4],
    }
    bare = first | {"loss": {"key": "arcface", "params": {}}}
    assert differing_settings([first, bare]) == {"loss.params.margin": [0.5, None]}
