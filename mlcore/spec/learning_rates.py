"""Learning rates over a run: what the schedule makes of them, and how few classes keep what is known already."""

from __future__ import annotations

import math

from mlcore.spec.sections import HeadChoice, OptimizerChoice

STEP_PARTS = 3
FULL_STEPS_PER_CUBED_CLASS = 1 / 1000  # measured, see CONTRIBUTING, "Design decisions"
LOOKED_AT = 2000  # of a longer run's steps, so many are summed


def schedule_factor(choice: OptimizerChoice, step: int, total_steps: int) -> float:
    """What the learning rates are multiplied by at the step that is `step` steps after the start (0 is the first).

    A "plateau" counts as 1 here: how it falls is known only while the run goes on.
    """
    if step < choice.warm_up_steps:
        return (step + 1) / choice.warm_up_steps
    if choice.schedule in ("constant", "plateau"):
        return 1.0
    if choice.schedule == "step":
        return choice.drop_to ** (step // (choice.drop_every or max(1, math.ceil(total_steps / STEP_PARTS))))
    done = (step - choice.warm_up_steps) / max(1, total_steps - choice.warm_up_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def full_rate_steps(choice: OptimizerChoice, total_steps: int) -> float:
    """The sum of the schedule's factors over a run: how many steps at the full rate would move the weights as far."""
    stride = max(1, total_steps // LOOKED_AT)
    looked_at = range(0, total_steps, stride)
    return total_steps * sum(schedule_factor(choice, step, total_steps) for step in looked_at) / len(looked_at)


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
