"""Notices when steps teach nothing, and says the likely reason, once for each."""

from __future__ import annotations

import math
from collections import Counter, deque

import numpy as np

from mlcore.training.events import StepDone, Warned

WINDOW = 20
NEARLY_ALL = 0.9
CAUSES = {
    "rates": "every learning rate was 0. Raise one",
    "nothing_found": "the miner found nothing. Choose none or a milder one",
    "one_class": "the batch held one class only. Choose a sampler of several classes, or a larger batch",
    "no_positives": "no class had two images in the batch. Choose the sampler m per class, or a larger batch",
    "within": "the loss was 0: every pair is already where the loss wants it. Raise the margin, or take a harder miner",
    "flat": "the loss has no slope where the embeddings are. Lower its scale, raise its temperature, or take another "
    "miner or loss",
    "not_finite": "the gradient was not finite. Lower the learning rates, or take full precision",
}


class IdleSteps:
    """Watches the last steps of a run for a gradient of 0 or a miner that finds nothing.

    A window of `WINDOW` steps, or a third of a shorter run; the warning comes when nearly all of them taught nothing.
    """

    def __init__(self, total_steps: int) -> None:
        self.window = max(1, min(WINDOW, total_steps // 3))
        self.recent: deque[str] = deque(maxlen=self.window)
        self.told: set[str] = set()
        self.idle = self.seen = 0

    def see(self, done: StepDone, labels: np.ndarray) -> Warned | None:
        """Take note of a step on a batch with these labels (B,); a warning, if one is due."""
        cause = find_cause(done, labels)
        self.recent.append(cause)
        self.seen += 1
        self.idle += bool(cause)
        causes = Counter(filter(None, self.recent))
        if len(self.recent) < self.window or causes.total() < NEARLY_ALL * self.window:
            return None
        cause, times = causes.most_common(1)[0]
        if cause in self.told:
            return None
        self.told.add(cause)
        text = (
            f"Step {done.step:,}: in {times} of the last {self.window} steps nothing was learned from the loss, since "
        )
        return Warned(done.step, f"{text}{CAUSES[cause]}.", "idle")

    def sum_up(self, step: int) -> Warned | None:
        """At the end: how many steps taught nothing, if a warning was given."""
        if not self.told or not self.idle:
            return None
        return Warned(step, f"In {self.idle:,} of {self.seen:,} steps nothing was learned from the loss.", "idle")


def find_cause(done: StepDone, labels: np.ndarray) -> str:
    """Why a step taught nothing, a key of CAUSES; "" if it taught something. Losses that are not finite are another
    matter, which ends a run."""
    if not math.isfinite(done.loss):
        return ""
    if not any(done.learning_rates.values()):
        return "rates"
    if done.tuples == 0:
        return "nothing_found"
    if not math.isfinite(done.grad_norm):
        return "not_finite"
    if done.grad_norm > 0.0:
        return ""
    classes = len(np.unique(labels))
    if classes == 1:
        return "one_class"
    if classes == len(labels):
        return "no_positives"
    return "within" if done.loss == 0.0 else "flat"
