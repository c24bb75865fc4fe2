"""The training loop: a generator that yields events. Whoever consumes it decides what to do with them."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcore.spec.concerns import find_concerns, refusal_sentence
from mlcore.spec.run_spec import RunSpec
from mlcore.training import checkpoint as checkpoints
from mlcore.training.before_first_step import before_first_step
from mlcore.training.build import unwrap_loss
from mlcore.training.evaluator import Evaluator
from mlcore.training.events import Checkpoint, Event, Finished, Progress, SnapshotTaken, StepDone, TrainingFault, Warned
from mlcore.training.idle_steps import IdleSteps
from mlcore.training.methods import METHODS
from mlcore.training.prepare import Prepared, prepare
from mlcore.training.step import StepResult, train_step
from mlcore.training.throughput import Memory, Pace, Share
from mlcore.traits import MethodTrait

EVALUATIONS = 10  # by default at least, evenly over the run; between them one more, if the evaluator has rested
NONFINITE_LIMIT = 3
PROGRESS_EVERY_S = 0.2
LAST_MOMENT_S = 0.7
SAVING_SHARE = 0.05


def train(spec: RunSpec, *, resume_from: bytes | None = None, runs: Path | str | None = None) -> Iterator[Event]:
    """Train as `spec` says and yield what happens; closing the iterator stops the run.

    `resume_from` is a checkpoint's bytes: training goes on after its step, on the CPU with the very same curve. `runs`
    is the folder where a run that teaches lies, by default $LAB_RUNS, else ./runs.
    Random: weights from torch's global generator seeded with `spec.seed`; batches and augmentation from generators
    of their own, derived from seed, epoch and step.

    Raises: TrainingFault when training cannot go on; ValueError when the spec does not fit the data.
    """
    yield from Trainer(prepare(spec, runs=runs), resume_from=resume_from).events()


@dataclass(frozen=True, eq=False)
class ResumePoint:
    """What an earlier attempt has already shown: its last evaluated step, that step's `pca` (see `Evaluator`), and
    whether it has the expensive metrics."""

    step: int
    pca: np.ndarray | None
    whole: bool = False


class Trainer:
    """One run in the making. `stop()` may be called from outside; `events()` is the run.

    Checkpoints carry `digest`, by which they are known again: the spec's, as it was when the run was made.

    Raises: ValueError for a checkpoint of another run.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        resume_from: bytes | None = None,
        resume_point: ResumePoint | None = None,
        digest: str | None = None,
    ) -> None:
        spec = prepared.spec
        self.prepared = prepared
        self.is_new = resume_from is None
        self.resume_point = resume_point
        self.digest = digest or spec.digest()
        self.step = 0
        self.stopping = False
        last_pca = resume_point.pca if resume_point else None
        source = prepared.features.source
        self.evaluator = Evaluator(prepared.table, prepared.split, prepared.sample, source, prepared.classes, last_pca)
        self.pace = Pace(prepared.batches.size * spec.optimizer.accumulate)
        self.memory = Memory()
        self.saving = Share(SAVING_SHARE)
        self.start_is_told = False
        self.to_restore = resume_from
        if resume_from is not None:
            checkpoints.check_owner(resume_from, self.digest)
            self.start_is_told = checkpoints.start_was_evaluated(resume_from)
            if self.start_is_told:
                self.restore(resume_from)

    def stop(self) -> None:
        """End after the present step; what was evaluated so far is kept."""
        self.stopping = True

    def events(self) -> Generator[Event, None, None]:
        """Prepare, train, finish."""
        prepared = self.prepared
        yield prepared.started(self.step if self.to_restore is None else checkpoints.checkpoint_step(self.to_restore))
        if self.is_new:
            yield from warn_of_concerns(prepared)
        yield from before_first_step(prepared, self.step, lambda: self.stopping)
        if self.stopping:
            yield self.finished("stopped")
            return
        self.evaluator.source = prepared.features.source
        try:
            yield from self.train()
        finally:
            self.evaluator.cancel()

    def train(self) -> Iterator[Event]:
        """The loop itself: evaluate, step, evaluate every so often, save, evaluate at the end."""
        spec, total, point = self.prepared.spec, self.prepared.spec.budget.steps, self.resume_point
        asked = spec.watch.evaluate_every
        every = asked or max(1, total // EVALUATIONS)
        between = asked or max(1, every // 2)
        whole_at = point.step if point and point.whole else -1
        if point is None or point.step != self.step:
            ends = self.step >= total or self.time_is_up
            self.evaluate(whole=self.step == 0 or ends)
            whole_at = self.step if ends else whole_at
        if self.to_restore is not None:
            self.restore(self.to_restore)
        idle, nonfinite, reason = IdleSteps(total - self.step), 0, "completed"

        while self.step < total and not self.stopping:
            if self.time_is_up:
                reason = "time_up"
                yield Warned(self.step, f"Stopped after {spec.budget.max_seconds:g} s, as the budget says.")
                break
            self.pace.begin()
            result = train_step(self.prepared, self.step)
            self.step += 1
            self.pace.end()
            done = self.step_done(result)
            yield done
            nonfinite = 0 if math.isfinite(done.loss) else nonfinite + 1
            if nonfinite == NONFINITE_LIMIT:
                raise nonfinite_fault(done)
            if warning := idle.see(done, result.labels):
                yield warning
            due = self.step % every == 0 or (self.step % between == 0 and self.evaluator.may_evaluate)
            if due and self.step < total and not self.time_is_up:
                yield from self.wait_for_evaluation()
                if not self.stopping:
                    self.evaluate()
                    yield from self.save(always=asked is not None)
            yield from self.drain_events()

        yield from self.wait_for_evaluation()
        if warning := idle.sum_up(self.step):
            yield warning
        yield from self.save(always=True)
        if whole_at < self.step and not self.stopping:
            self.evaluate(whole=True)
            yield from self.wait_for_evaluation()
        yield self.finished("stopped" if self.stopping else reason)

    @property
    def time_is_up(self) -> bool:
        limit = self.prepared.spec.budget.max_seconds
        return limit is not None and self.pace.total > limit

    def evaluate(self, *, whole: bool = False) -> None:
        """Begin to evaluate the model as it is now (`whole`: with the expensive metrics)."""
        prepared = self.prepared
        sliced = MethodTrait.SLICES in METHODS[prepared.spec.method.key].traits
        loss = None if sliced or prepared.distill_only else unwrap_loss(prepared.method.loss)
        embed_texts = prepared.method.embed_texts()
        self.evaluator.evaluate(self.step, prepared.eval_model, loss, whole=whole, embed_texts=embed_texts)

    def wait_for_evaluation(self) -> Iterator[Event]:
        """Wait for the evaluation that is going on, saying how far it is, so that a stop is heard meanwhile.

        After a stop it has a moment more; what it does not finish by then is given up.
        """
        while self.evaluator.busy and not self.stopping:
            self.evaluator.wait(PROGRESS_EVERY_S)
            if self.evaluator.busy:
                yield Progress(self.step, "Evaluating", self.evaluator.embedded, len(self.prepared.table))
        self.evaluator.wait(LAST_MOMENT_S)
        yield from self.drain_events()

    def drain_events(self) -> list[Event]:
        """What the evaluator has found since the last call; also to be called while nothing is pulled from `events`."""
        events = self.evaluator.drain_events()
        self.start_is_told = self.start_is_told or any(not isinstance(event, SnapshotTaken) for event in events)
        return events

    def save(self, *, always: bool) -> Iterator[Event]:
        """A checkpoint, unless there is nothing to save or (if not `always`) saving has taken its share of the time.

        A run goes on from its last checkpoint, so what was seen before it must have been told before it. A run that
        was stopped while step 0 was still evaluated keeps one that says so: who goes on from it evaluates step 0 first.
        """
        if self.step > 0 and (always or self.saving.allows()):
            with self.saving:
                state, told = self.prepared.state, self.start_is_told
                data = checkpoints.pack_checkpoint(state, self.step, self.digest, self.pace.total, start_evaluated=told)
                yield Checkpoint(self.step, data)

    def restore(self, checkpoint: bytes) -> None:
        """Go on from the checkpoint."""
        self.step, self.pace.total = checkpoints.unpack_checkpoint(checkpoint, self.prepared.state, self.digest)
        self.to_restore = None

    def step_done(self, result: StepResult) -> StepDone:
        """The event of the step that was just taken."""
        pace, spec = self.pace, self.prepared.spec
        return StepDone(
            step=self.step,
            epoch=self.prepared.batches.place(self.step - 1)[0],
            loss=result.loss,
            grad_norm=result.grad_norm,
            learning_rates=result.learning_rates,
            images_per_s=round(pace.images_per_s, 1),
            memory_mb=self.memory.mb(),
            seconds_left=round((spec.budget.steps - self.step) * pace.seconds, 2),
            tuples=result.tuples,
            parts=result.parts,
        )

    def finished(self, reason: str) -> Finished:
        return Finished(self.step, reason, round(self.pace.total, 3))


def warn_of_concerns(prepared: Prepared) -> Iterator[Event]:
    """What a new run cannot learn or measure; TrainingFault where that leaves nothing to learn. A preview learns
    nothing anyway."""
    if prepared.spec.budget.steps == 0:
        return
    concerns = find_concerns(prepared.spec, prepared.table, prepared.split)
    if text := refusal_sentence(concerns):
        raise TrainingFault("nothing_to_learn", text)
    for concern in concerns:
        yield Warned(0, concern.text, "before")


def nonfinite_fault(done: StepDone) -> TrainingFault:
    rates = ", ".join(f"{name} {rate:g}" for name, rate in done.learning_rates.items())
    return TrainingFault(
        "nonfinite_loss",
        f"The loss was not a number for {NONFINITE_LIMIT} steps in a row, up to step {done.step} "
        f"(learning rates: {rates}). Try learning rates ten times smaller, or clip the gradients.",
    )
