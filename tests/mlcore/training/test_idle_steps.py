"""Steps that teach nothing are noticed, once for each reason, and told at the end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlcore.spec.run_spec import RunSpec
from mlcore.training.events import StepDone, TrainingFault
from mlcore.training.idle_steps import CAUSES, WINDOW, IdleSteps
from mlcore.training.loop import train

PAIRED, ALONE, ONE = np.array([0, 0, 1, 1]), np.arange(4), np.zeros(4, int)


def step(number=1, loss=1.0, grad_norm=0.0, rate=1e-3, tuples=None):
    return StepDone(number, 1, loss, grad_norm, {"head": rate}, 100.0, 10.0, 1.0, tuples, {})


@pytest.mark.parametrize(
    ("done", "labels", "cause"),
    [
        (step(rate=0.0, grad_norm=1.0), PAIRED, "rates"),
        (step(tuples=0, grad_norm=1.0), PAIRED, "nothing_found"),
        (step(loss=0.0), ONE, "one_class"),
        (step(loss=0.0), ALONE, "no_positives"),
        (step(loss=0.0), PAIRED, "within"),
        (step(), PAIRED, "flat"),
        (step(grad_norm=math.inf), PAIRED, "not_finite"),
    ],
)
def test_each_reason_is_told_once_and_not_before_the_window_is_full(done, labels, cause):
    idle = IdleSteps(100)
    warnings = [idle.see(done, labels) for _ in range(50)]
    assert [place for place, warning in enumerate(warnings) if warning] == [WINDOW - 1]
    assert CAUSES[cause] in warnings[WINDOW - 1].text
    assert warnings[WINDOW - 1].code == "idle"
    assert "In 50 of 50 steps nothing was learned" in idle.sum_up(50).text


@pytest.mark.parametrize("done", [step(grad_norm=0.1), step(tuples=9, grad_norm=0.1), step(loss=math.nan)])
def test_steps_that_teach_are_left_in_peace(done):
    idle = IdleSteps(100)
    assert not any(idle.see(done, PAIRED) for _ in range(60))
    assert idle.sum_up(60) is None


def test_now_and_then_a_step_without_gradient_is_no_matter():
    idle = IdleSteps(100)
    assert not any(idle.see(step(grad_norm=float(number % 3 > 0)), PAIRED) for number in range(100))


QUICK = {"dataset": "digits", "backbone": "mlp", "budget": {"steps": 12}, "threads": 1}


def warnings_of(**settings):
    return [event for event in train(RunSpec.read(QUICK).changed(settings)) if event.kind == "warning"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"loss": "contrastive", "miner": "pair_margin", "miner.pos_margin": 2.0, "miner.neg_margin": -1.0},
            "found no",
        ),
        (
            {"loss": "triplet_margin", "loss.margin": 0.0, "miner": "triplet_margin", "miner.type_of_triplets": "easy"},
            "",
        ),
        ({"optimizer.backbone_lr": 0.0, "optimizer.head_lr": 0.0, "optimizer.proxies_lr": 0.0}, "learning rate was 0"),
    ],
    ids=["miner", "margin", "rates"],
)
def test_a_run_says_that_it_learns_nothing(settings, words):
    told = [event for event in warnings_of(**settings) if event.code == "idle"]
    assert len(told) == 2
    assert words in told[0].text
    assert "In 12 of 12 steps" in told[1].text


def test_a_usual_run_warns_of_nothing():
    assert warnings_of() == []
    assert warnings_of(loss="triplet_margin", miner="batch_easy_hard", wrapper="cross_batch_memory") == []


def test_a_run_that_could_learn_nothing_does_not_begin():
    with pytest.raises(TrainingFault, match="multiple of 3") as caught:
        list(train(RunSpec.read(QUICK).changed({"loss": "supcon", "miner": "packaged_triplets"})))
    assert caught.value.code == "nothing_to_learn"
