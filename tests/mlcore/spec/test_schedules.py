"""Every declared schedule: its knobs are settings of the optimizer, and its factors lie between 0 and 1."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mlcore.spec.learning_rates import build_schedule
from mlcore.spec.schedules import SCHEDULES
from mlcore.spec.sections import OptimizerChoice


@pytest.mark.parametrize("key", SCHEDULES)
def test_its_knobs_are_settings_of_the_optimizer_with_the_same_range_and_default(key):
    for param in SCHEDULES[key].params:
        field = OptimizerChoice.model_fields[param.name]
        assert field.default == param.default
        for value in (param.knob.low, param.knob.high):
            assert getattr(OptimizerChoice(**{param.name: value}), param.name) == value
        for value in (param.knob.low / 2, param.knob.high * 2):
            with pytest.raises(ValidationError, match=param.name):
                OptimizerChoice(**{param.name: value})


@pytest.mark.parametrize("key", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 7, 300])
def test_its_factors_begin_with_the_warm_up_and_stay_between_zero_and_one(key, steps):
    schedule = build_schedule(OptimizerChoice(schedule=key, warm_up_steps=2), steps)
    factors = [schedule.factor(step) for step in range(steps + 3)]
    assert factors[:2] == [0.5, 1.0]
    assert all(0.0 <= factor <= 1.0 for factor in factors)


@pytest.mark.parametrize("setting", ["name", "schedule"])
def test_one_that_is_not_declared_is_refused_with_what_there_is(setting):
    with pytest.raises(ValidationError, match=r"There is no .* 'nothing'"):
        OptimizerChoice(**{setting: "nothing"})
