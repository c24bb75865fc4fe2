"""Learning rates over a run: what the schedule makes of them, and how few classes keep what is known already."""

from __future__ import annotations

from mlcore.spec.schedules import SCHEDULES, Schedule
from mlcore.spec.sections import HeadChoice, OptimizerChoice

FULL_STEPS_PER_CUBED_CLASS = 1 / 1000  # measured, see CONTRIBUTING, "Design decisions"
LOOKED_AT = 2000  # of a longer run's steps, so many are summed


def build_schedule(choice: OptimizerChoice, total_steps: int) -> Schedule:
    """The chosen schedule with its knobs, for a run of so many steps."""
    spec = SCHEDULES[choice.schedule]
    knobs = {param.name: getattr(choice, param.name) for param in spec.params}
    return spec.build({"total_steps": total_steps, "warm_up_steps": choice.warm_up_steps}, **knobs)


def full_rate_steps(choice: OptimizerChoice, total_steps: int) -> float:
    """The sum of the schedule's factors over a run: how many steps at the full rate would move the weights as far."""
    schedule, stride = build_schedule(choice, total_steps), max(1, total_steps // LOOKED_AT)
    looked_at = range(0, total_steps, stride)
    return total_steps * sum(schedule.factor(step) for step in looked_at) / len(looked_at)


def rate_scale(choice: OptimizerChoice, classes: int | None, total_steps: int) -> float:
    """What the rates of backbone and head are multiplied by in the whole run: 1, or less where there are few classes.

    With `lr_scaling` "classes" a run of C training classes moves the weights no further than C^3 / 1000 steps at the
    full rate would. The fewer classes there are to learn from, the sooner a network that knows more than they can teach
    forgets it; with many classes the rates stay as they are, and where no other classes are asked about (None) too.
    """
    if choice.lr_scaling == "none" or classes is None or total_steps < 1:
        return 1.0
    return min(1.0, FULL_STEPS_PER_CUBED_CLASS * classes**3 / full_rate_steps(choice, total_steps))


def base_rates(choice: OptimizerChoice, head: HeadChoice, classes: int | None, total_steps: int) -> dict[str, float]:
    """The rate of each group of parameters, before the schedule. Only what begins with knowledge is scaled.

    "method" is what a training method learns besides (a classifier ...): at the head's rate.
    """
    scale = rate_scale(choice, classes, total_steps)
    knows = head.kind == "residual" or head.start == "components"
    return {
        "backbone": choice.backbone_lr * scale,
        "head": choice.head_lr * (scale if knows else 1.0),
        "method": choice.head_lr,
        "proxies": choice.proxies_lr,
    }
