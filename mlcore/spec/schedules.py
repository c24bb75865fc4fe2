"""How the learning rates go over a run: declared here, computed without torch."""

from __future__ import annotations

import math
from typing import Annotated

from mlcore.declare import Knob, Registry

SCHEDULES = Registry("schedule")
STEP_PARTS = 3
PLATEAU_WINDOWS = 10

DropTo = Annotated[
    float, Knob("What the rates are multiplied by at each drop.", 1e-4, 1.0, log=True, title="Multiply the rates by")
]


class Schedule:
    """What the learning rates are multiplied by; `factor` climbs over the warm-up, then goes as the schedule says.

    The arguments with a knob are settings of `OptimizerChoice` by the same names.
    """

    def __init__(self, total_steps: int, warm_up_steps: int) -> None:
        self.total_steps = total_steps
        self.warm_up_steps = warm_up_steps

    def factor(self, step: int) -> float:
        """For the step that is `step` steps after the start (0 is the first)."""
        if step < self.warm_up_steps:
            return (step + 1) / self.warm_up_steps
        return self.after_warm_up(step)

    def after_warm_up(self, step: int) -> float:
        raise NotImplementedError


@SCHEDULES.add("constant", title="Constant", family="schedule")
class ConstantSchedule(Schedule):
    """The rates stay as they are set.

    What to expect: Right for short runs, and to compare losses by.
    """

    def __init__(self, total_steps: int, warm_up_steps: int) -> None:
        super().__init__(total_steps, warm_up_steps)

    def after_warm_up(self, step: int) -> float:
        return 1.0


@SCHEDULES.add(
    "cosine",
    title="Cosine",
    family="schedule",
    formula=r"\tfrac{1}{2}\left(1 + \cos \frac{\pi t}{T}\right)",
    paper="Loshchilov & Hutter, ICLR 2017, arXiv:1608.03983",
    aliases=("CosineAnnealingLR (torch)",),
)
class CosineSchedule(Schedule):
    """The rates fall along half a cosine to 0 at the end of the run.

    What to expect: The usual one for fine-tuning; the last steps change little.
    """

    def __init__(self, total_steps: int, warm_up_steps: int) -> None:
        super().__init__(total_steps, warm_up_steps)

    def after_warm_up(self, step: int) -> float:
        done = (step - self.warm_up_steps) / max(1, self.total_steps - self.warm_up_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


@SCHEDULES.add("step", title="Steps", family="schedule", aliases=("StepLR (torch)",))
class StepSchedule(Schedule):
    """The rates drop at even intervals.

    What to expect: The curves show a bend at each drop.
    """

    def __init__(
        self,
        total_steps: int,
        warm_up_steps: int,
        drop_every: Annotated[
            int | None,
            Knob(
                "How far apart the drops are.",
                1,
                1_000_000,
                log=True,
                none="a third of the run",
                title="Steps between drops",
            ),
        ] = None,
        drop_to: DropTo = 0.1,
    ) -> None:
        super().__init__(total_steps, warm_up_steps)
        self.drop_every = drop_every or max(1, math.ceil(total_steps / STEP_PARTS))
        self.drop_to = drop_to

    def after_warm_up(self, step: int) -> float:
        return self.drop_to ** (step // self.drop_every)


@SCHEDULES.add("plateau", title="Plateau", family="schedule", aliases=("ReduceLROnPlateau (torch)",))
class PlateauSchedule(Schedule):
    """The rates drop when the training loss no longer falls.

    The mean loss of every window of steps is compared with the lowest so far; `patience` windows in a row that are not
    at least 1 % below it make a drop. It goes by the training loss, not by held-out images: what steers a training is
    no longer held out. Here the factor counts as 1: how it falls is known only while the run goes on.

    What to expect: Drops come late where the loss is noisy; a longer window is steadier.
    """

    def __init__(
        self,
        total_steps: int,
        warm_up_steps: int,
        drop_every: Annotated[
            int | None,
            Knob(
                "Of whose loss the mean is taken.",
                1,
                1_000_000,
                log=True,
                none="a tenth of the run",
                title="Steps in a window",
            ),
        ] = None,
        drop_to: DropTo = 0.1,
        patience: Annotated[int, Knob("Windows in a row without a fall of 1 %.", 1, 1000, log=True)] = 2,
    ) -> None:
        super().__init__(total_steps, warm_up_steps)
        self.window = drop_every or max(1, total_steps // PLATEAU_WINDOWS)
        self.drop_to = drop_to
        self.patience = patience

    def after_warm_up(self, step: int) -> float:
        return 1.0
