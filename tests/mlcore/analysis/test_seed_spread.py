"""The spread of runs that are there: what may be pooled, and that the arithmetic is of their own figures."""

from __future__ import annotations

import json

import pytest

from mlcore.analysis.seed_spread import spread_of_runs
from mlcore.commands.report import spread_in_words
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.history import History
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec

SETTINGS = {
    "dataset": "digits",
    "backbone": "mlp",
    "head": {"embedding_size": 4},
    "budget": {"steps": 2},
    "watch": {"points": 50},
    "threads": 1,
}


@pytest.fixture
def trained(runs):
    def train(**changes):
        run = runs.create(RunSpec.read(SETTINGS | changes), state=RunState.DRAFT)
        assert run_folder(run) == 0
        return run

    return train


def held_out(run, place):
    history = History(run)
    history.refresh()
    return history.evaluations[place]["held_out"]


def test_spread_is_of_the_first_and_last_look_of_each_run(trained):
    made = [trained(seed=3, name="one"), trained(seed=4), trained(seed=9)]
    result = spread_of_runs(made)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["seeds"], result["step"]) == ([3, 4, 9], 2)
    assert result["run_ids"] == [run.run_id for run in made]
    first, last = ([held_out(run, place)["map_at_r"] for run in made] for place in (0, -1))
    assert result["before"]["map_at_r"]["values"] == first
    assert result["after"]["map_at_r"]["mean"] == pytest.approx(sum(last) / 3)
    gained = [late - early for late, early in zip(last, first, strict=True)]
    assert result["gain"]["map_at_r"]["values"] == pytest.approx(gained)
    assert result["after"]["nmi"]["std"] > 0
    assert "queries" not in result["after"]
    words = spread_in_words(result)
    assert "seeds 3, 4, 9, step 2" in words
    assert "no training" in words
    assert len(set(result["no_training"]["map_at_r"]["values"])) == 3  # random weights of three seeds
    assert f"{result['after']['map_at_r']['mean']:.3f} ± {result['after']['map_at_r']['std']:.3f}" in words


def test_a_figure_of_the_end_alone_is_told_without_a_beginning():
    one = {"mean": 0.5, "std": 0.1, "values": [0.4, 0.6]}
    nothing = {"no_training": {}, "before": {"nmi": one}, "after": {"nmi": one, "map": one}, "gain": {"nmi": one}}
    words = spread_in_words({"name": "Run", "seeds": [0, 1], "step": 3} | nothing)
    assert words.splitlines()[1].split() == ["metric", "before", "after", "change"]
    assert words.splitlines()[-1].split() == ["map", "-", "0.500", "±", "0.100", "-"]


def test_images_named_by_fingerprint_or_not_are_the_same_images(trained):
    first = trained(seed=0)
    history = History(first)
    history.refresh()
    second = trained(seed=1, dataset={"key": "digits", "fingerprint": history.started["fingerprint"]})
    assert spread_of_runs([first, second])["seeds"] == [0, 1]


def test_what_is_no_repetition_is_refused_with_what_differs(trained, runs):
    first = trained(seed=0)
    with pytest.raises(ValueError, match="at least two runs; got 1"):
        spread_of_runs([first])
    with pytest.raises(ValueError, match="a seed of its own; got 0, 0"):
        spread_of_runs([first, first])
    other = trained(seed=1, loss={"key": "arcface", "params": {"margin": 0.1}})
    with pytest.raises(ValueError, match=r"seed and name only; these differ in loss\.params\.margin \(.*, 0\.1\)"):
        spread_of_runs([first, other])
    waiting = runs.create(RunSpec.read(SETTINGS | {"seed": 2, "name": "slow"}))
    with pytest.raises(ValueError, match="slow is queued"):
        spread_of_runs([first, waiting])
