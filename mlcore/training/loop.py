"""The training loop: a generator that yields events. Whoever consumes it decides what to do with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.catalogue import parts
from mlcore.data import ImageTable, load
from mlcore.data.feature_cache import DamagedFeatures, open_kept
from mlcore.spec.concerns import find_concerns, refusal
from mlcore.spec.data_split import build_split, count_classes_to_generalise
from mlcore.spec.learning_rates import base_rates
from mlcore.spec.run_spec import RunSpec
from mlcore.text.image_texts import ImageTexts
from mlcore.training import checkpoint as checkpoints
from mlcore.training.batches import Batches
from mlcore.training.build import (
    TrainingRows,
    build_augmentation,
    build_method,
    build_model,
    build_sampler,
    build_subset_miner,
    pictured,
)
from mlcore.training.cached_features import kept_features, wanted_features
from mlcore.training.device import default_threads, pick_device
from mlcore.training.embedder import Embedder
from mlcore.training.evaluator import Evaluator, choose_sample
from mlcore.training.events import Checkpoint, Event, Finished, Progress, Started, StepDone, TrainingFault, Warned
from mlcore.training.feature_source import FeatureSource, PixelSource, Source, chunks
from mlcore.training.idle_steps import IdleSteps
from mlcore.training.methods import Outcome
from mlcore.training.mixup import mixed
from mlcore.training.optim import Plateau, Scaler, averaged, build_optimizer, half_precision, rate_factor, set_rates
from mlcore.training.pca_init import begin_with_components, spread_rows
from mlcore.training.teacher import Distillation, open_distillation
from mlcore.training.throughput import Memory, Pace, Share
from mlcore.traits import MethodTrait, SamplerTrait

LOOKS = 10  # by default at least, evenly over the run; between them one more, if the evaluator has rested
NONFINITE_LIMIT = 3
WORD_EVERY_S = 0.2
LAST_MOMENT_S = 0.7
SAVING_SHARE = 0.05
MIXING = 2**40  # far from any view's number


def train(spec: RunSpec, *, resume_from: bytes | None = None, runs: Path | str | None = None) -> Iterator[Event]:
    """Train as `spec` says and yield what happens; closing the iterator stops the run.

    `resume_from` is a checkpoint's bytes: training goes on after its step, on the CPU with the very same curve. `runs`
    is the folder where a run that teaches lies, by default $LAB_RUNS, else ./runs.
    Random: weights from torch's global generator seeded with `spec.seed`; batches and augmentation from generators
    of their own, derived from seed, epoch and step.

    Raises: TrainingFault when training cannot go on; ValueError when the spec does not fit the data.
    """
    yield from Training(spec, resume_from=resume_from, runs=runs).events()


@dataclass(frozen=True, eq=False)
class LastLook:
    """What an earlier attempt has already shown: its last evaluated step, that step's `pca` (see `Evaluator`), and
    whether it has the expensive metrics."""

    step: int
    pca: np.ndarray | None
    whole: bool = False


class Training:
    """One run in the making. `stop()` may be called from outside; `events()` is the run.

    Checkpoints carry `digest`, by which they are known again: the spec's, as it was when the run was born.
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        resume_from: bytes | None = None,
        last_look: LastLook | None = None,
        digest: str | None = None,
        runs: Path | str | None = None,
    ) -> None:
        self.spec = spec
        self.runs = runs
        self.digest = digest or spec.digest()
        self.resume_from = resume_from
        self.last_look = last_look
        self.device = pick_device(spec.device)
        self.threads = spec.threads or default_threads()
        self.step = 0
        self.stopping = False
        self.batch_labels = np.zeros(0, dtype=np.int64)
        self.evaluator: Evaluator | None = None
        self.distillation: Distillation | None = None
        self.pace = Pace(spec.sampler.batch_size * spec.optimizer.accumulate)
        self.memory = Memory()
        self._prepared = False
        self._first_look_told = False
        self._restored = resume_from is None
        self._saving = Share(SAVING_SHARE)

    def stop(self) -> None:
        """End after the present step; what was evaluated so far is kept."""
        self.stopping = True

    def prepare(self) -> None:
        """Load the data and build every part, once; ValueError if they do not fit together."""
        if self._prepared:
            return
        self._prepared = True
        spec = self.spec
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(spec.deterministic, warn_only=True)
        torch.manual_seed(spec.seed)
        self.table = load_table(spec)
        self.split = build_split(spec.dataset, self.table)
        self.classes, self.train_labels = np.unique(self.table.labels[self.split.train], return_inverse=True)
        self.sample = choose_sample(self.table, self.split, spec.watch.points, spec.dataset.split_seed)
        table, sides = self.table, (self.split.train, self.split.held_out)
        texts = ImageTexts(table.texts, table.class_names, table.labels, *sides)
        rows = TrainingRows(self.train_labels, table.label_levels[self.split.train], texts)
        self.model = build_model(spec, self.table).to(self.device)
        self.method = build_method(spec, rows, self.model).to(self.device)
        self.subset_miner = build_subset_miner(spec, self.method)
        self.sampler = build_sampler(spec, rows, self.embed_now, self.method.miner)
        modules: dict[str, nn.Module] = {"model": self.model, "method": self.method}
        self.distillation = open_distillation(spec, self.table, self.model.embedding_size, self.runs)
        if self.distillation is not None:
            modules["distillation"] = self.distillation.to(self.device)
        learned = () if self.distillation is None else self.distillation.parameters()
        idle = spec.budget.steps == 0
        classes = count_classes_to_generalise(self.table, self.split)
        rates = base_rates(spec.optimizer, spec.head, classes, spec.budget.steps)
        self.optimizer = build_optimizer(spec.optimizer, self.model, self.method, learned, rates=rates, idle=idle)
        if self.subset_miner is not None:
            modules["subset_miner"] = self.subset_miner
        choice = spec.optimizer
        self.half = half_precision(spec.precision, self.device)
        self.scaler = Scaler(self.device.type) if self.half == torch.float16 else None
        self.plateau = Plateau(choice, spec.budget.steps) if choice.schedule == "plateau" else None
        self.average = averaged(self.model, choice.ema) if choice.ema is not None else None
        extras = {"scaler": self.scaler, "plateau": self.plateau, "average": self.average}
        modules |= {name: module for name, module in extras.items() if module is not None}
        self.parts = checkpoints.CheckpointState(modules, self.optimizer)
        self.source: Source = PixelSource(self.table, self.device, build_augmentation(spec))
        if self.table.vectors is not None:
            self.source = FeatureSource(self.table.vectors, self.device)
        looks = SamplerTrait.LOOKS_AT_THE_MODEL in parts("samplers")[spec.sampler.key].traits
        self.batches = Batches(self.sampler, spec.seed, spec.optimizer.accumulate, self.parts if looks else None)
        self.pace.batch_size = self.batches.size * spec.optimizer.accumulate
        if self.resume_from is not None:
            checkpoints.check_owner(self.resume_from, self.digest)
            self._first_look_told = checkpoints.first_look_told(self.resume_from)
            if self._first_look_told:
                self.restore()

    def restore(self) -> None:
        """Go on from the checkpoint."""
        self.step, self.pace.total = checkpoints.unpack(self.resume_from, self.parts, self.digest)
        self._restored = True

    def events(self) -> Iterator[Event]:
        self.prepare()
        yield self.started()
        yield from self.told_before()
        if self.spec.backbone.freeze == "everything" and isinstance(self.source, PixelSource):
            yield from self.make_features()
        if not self.stopping:
            yield from self.begin_head()
        if self.distillation is not None:
            plain = PixelSource(self.table, self.device) if self.table.vectors is None else self.source
            yield from self.distillation.ask(plain, self.split, self.step, lambda: self.stopping)
        for text, done, total in self.method.before_first_step():
            if self.stopping:
                break
            yield Progress(self.step, text, done, total)
        if self.stopping:
            yield Finished(self.step, "stopped", round(self.pace.total, 3))
            return
        last_pca = self.last_look.pca if self.last_look else None
        self.evaluator = Evaluator(self.table, self.split, self.sample, self.source, self.classes, last_pca)
        try:
            yield from self.run()
        finally:
            self.evaluator.cancel()

    def told_before(self) -> Iterator[Event]:
        """What cannot be learned or measured; TrainingFault where that leaves nothing to learn. A run that goes on has
        said so before, and a preview learns nothing."""
        if self.spec.budget.steps == 0 or self.resume_from is not None:
            return
        concerns = find_concerns(self.spec, self.table, self.split)
        if text := refusal(concerns):
            raise TrainingFault("nothing_to_learn", text)
        for concern in concerns:
            yield Warned(self.step, concern.text, "before")

    def run(self) -> Iterator[Event]:
        """The loop itself: look at the start, step, look every so often, look at the end."""
        total = self.spec.budget.steps
        patient = self.spec.watch.evaluate_every is not None
        every = self.spec.watch.evaluate_every or max(1, total // LOOKS)
        between = every if patient else max(1, every // 2)
        looked = self.last_look.step if self.last_look else -1
        whole = looked if self.last_look and self.last_look.whole else -1
        if looked != self.step:
            ends = self.step >= total or self.time_is_up
            looked = self.look(whole=self.step == 0 or ends)
            whole = looked if ends else whole
        if not self._restored:
            self.restore()
        nonfinite = 0
        idle = IdleSteps(total - self.step)
        reason = "completed"
        while self.step < total and not self.stopping:
            if self.time_is_up:
                reason = "time_up"
                yield Warned(self.step, f"Stopped after {self.spec.budget.max_seconds:g} s, as the budget says.")
                break
            done = self.train_step()
            nonfinite = nonfinite + 1 if not np.isfinite(done.loss) else 0
            yield done
            if nonfinite == NONFINITE_LIMIT:
                raise nonfinite_fault(done)
            if warning := idle.see(done, self.batch_labels):
                yield warning
            due = self.step % every == 0 or (self.step % between == 0 and self.evaluator.may_evaluate)
            if due and self.step < total and not self.time_is_up:
                yield from self.finish_look()
                if not self.stopping:
                    looked = self.look()
                    yield from self.save(always=patient)
            yield from self.drain_events()
        yield from self.finish_look()
        if warning := idle.sum_up(self.step):
            yield warning
        yield from self.save(always=True)
        if whole < self.step and not self.stopping:
            self.look(whole=True)
            yield from self.finish_look()
        yield Finished(self.step, "stopped" if self.stopping else reason, round(self.pace.total, 3))

    @property
    def time_is_up(self) -> bool:
        limit = self.spec.budget.max_seconds
        return bool(limit) and self.pace.total > limit

    def look(self, *, whole: bool = False) -> int:
        """Begin to evaluate the present model (`whole`: with the expensive metrics); returns the step."""
        sliced = MethodTrait.SLICES in parts("methods")[self.spec.method.key].traits
        loss = None if sliced or self.taught_alone else pictured(self.method.loss)
        self.evaluator.evaluate(self.step, self.shown, loss, whole=whole, embed_texts=self.method.embed_texts())
        return self.step

    @property
    def shown(self) -> Embedder:
        """The model that is evaluated: the average of its weights, where one is kept."""
        return self.model if self.average is None else self.average.module

    @property
    def taught_alone(self) -> bool:
        """Whether the teacher's embeddings are all that is learned from; proxies then stay as they were drawn."""
        return self.distillation is not None and self.distillation.alone

    def finish_look(self) -> Iterator[Event]:
        """Wait for the look that is going on, saying how far it is, so that a wish to stop is heard meanwhile.

        After a stop it has a moment more; what it does not finish by then is given up.
        """
        while self.evaluator.busy and not self.stopping:
            self.evaluator.wait(WORD_EVERY_S)
            if self.evaluator.busy:
                yield Progress(self.step, "Evaluating", self.evaluator.embedded, len(self.table))
        self.evaluator.wait(LAST_MOMENT_S)
        yield from self.drain_events()

    def drain_events(self) -> list[Event]:
        """What the evaluator has seen since the last call."""
        events = self.evaluator.drain_events() if self.evaluator else []
        self._first_look_told = self._first_look_told or any(event.kind != "snapshot" for event in events)
        return events

    def save(self, *, always: bool) -> Iterator[Event]:
        """A checkpoint, unless there is nothing to save or (if not `always`) saving has taken its share of the time.

        A run goes on from its last checkpoint, so what was seen before it must have been told before it. A run that
        was stopped while step 0 was still looked at keeps one that says so: who goes on from it looks at step 0 first.
        """
        if self.step > 0 and (always or self._saving.allows()):
            with self._saving:
                told = self._first_look_told
                data = checkpoints.pack(self.parts, self.step, self.digest, self.pace.total, first_look_told=told)
                yield Checkpoint(self.step, data)

    def train_step(self) -> StepDone:
        """One optimizer step; a loss that is not finite changes nothing but is told.

        Where several batches make a step, what is told of them are means, and the tuples of all.
        """
        spec, pace = self.spec, self.pace
        pace.begin()
        factor = rate_factor(spec.optimizer, self.step, spec.budget.steps, self.plateau)
        rates = set_rates(self.optimizer, factor)
        self.optimizer.zero_grad(set_to_none=True)
        epoch = self.batches.place(self.step)[0]
        outcomes = [self.batch_gradient(number) for number in range(spec.optimizer.accumulate)]
        loss, grad_norm = mean([outcome.loss.item() for outcome in outcomes]), math.nan
        if math.isfinite(loss):
            grad_norm = self.take_step()
        if self.plateau is not None:
            self.plateau.see(loss)
        self.step += 1
        pace.end()
        left = (spec.budget.steps - self.step) * pace.seconds
        return StepDone(
            step=self.step,
            epoch=epoch,
            loss=loss,
            grad_norm=grad_norm,
            learning_rates=rates,
            images_per_s=round(pace.images_per_s, 1),
            memory_mb=self.memory.mb(),
            seconds_left=round(left, 2),
            tuples=None if outcomes[0].tuples is None else sum(outcome.tuples or 0 for outcome in outcomes),
            parts=mean_parts(outcomes),
        )

    def batch_gradient(self, number: int) -> Outcome:
        """What the method makes of the step's batch of that number; its gradient is added to what is there."""
        rows = self.batches.rows(self.step, number)
        labels = torch.from_numpy(self.train_labels[rows]).to(self.device)
        with torch.autocast(self.device.type, self.half) if self.half else nullcontext():
            if self.subset_miner is not None:
                rows, labels = self.hardest(rows, labels)
            self.batch_labels = self.train_labels[rows]
            if self.spec.mix.kind != "none":
                features, labels = self.mixed_features(rows, labels, number)
            else:
                views = 1 if self.taught_alone else self.method.views
                features = tuple(self.features(rows, number, view) for view in range(views))
            if self.distillation is None:
                outcome = self.method(self.model.head, features, labels, rows)
            else:
                outcome = self.distillation.outcome(self.method, self.model.head, features, labels, rows)
        if math.isfinite(outcome.loss.item()):
            loss = outcome.loss / self.spec.optimizer.accumulate
            (loss if self.scaler is None else self.scaler.scaler.scale(loss)).backward()
        return outcome

    def take_step(self) -> float:
        """Move the weights; returns the norm of the gradient."""
        if self.scaler is None:
            norm = self.clip_gradients()
            self.optimizer.step()
        else:
            self.scaler.scaler.unscale_(self.optimizer)
            norm = self.clip_gradients()
            self.scaler.scaler.step(self.optimizer)
            self.scaler.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return norm

    def features(self, rows: np.ndarray, number: int, view: int = 0) -> Tensor:
        """The features (B, F) of places in the training split, in one rendering of the images."""
        return self.source.features(self.model, self.split.train[rows], self.movement(number, view))

    def mixed_features(self, rows: np.ndarray, labels: Tensor, number: int) -> tuple[tuple[Tensor], Tensor]:
        """The features of mixed images, and the shares (B, classes) of their classes."""
        found: list[Tensor] = []

        def mix(images: Tensor) -> Tensor:
            generator = self.random_source(number, MIXING)
            images, shares = mixed(images, labels, len(self.classes), self.spec.mix, generator)
            found.append(shares)
            return images

        features = self.source.features(self.model, self.split.train[rows], self.movement(number, 0), mix)
        return (features,), found[0]

    def hardest(self, rows: np.ndarray, labels: Tensor) -> tuple[np.ndarray, Tensor]:
        """Those of a batch that the subset miner picks, by a look at all of it that leaves no trace in the model."""
        chosen = self.subset_miner(self.embed_now(rows), labels)
        return rows[chosen.cpu().numpy()], labels[chosen]

    @torch.no_grad()
    def embed_now(self, rows: np.ndarray) -> Tensor:
        """Embeddings of places in the training split by the model as it is, unaugmented and without gradient."""
        self.model.eval()
        try:
            places = [self.split.train[rows[part]] for part in chunks(len(rows))]
            return torch.cat([self.model.head(self.source.features(self.model, part)) for part in places])
        finally:
            self.model.train()

    def clip_gradients(self) -> float:
        """The norm of all gradients together, before they are clipped (if they are)."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return 0.0
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        if self.spec.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.spec.optimizer.clip_norm, norm)
        return norm.item()

    def movement(self, number: int, view: int) -> torch.Generator | None:
        """The random source of a batch's augmentation for a view, or None for none."""
        return None if self.spec.augment.key == "none" else self.random_source(number, view)

    def random_source(self, number: int, purpose: int) -> torch.Generator:
        """A generator for a batch of this step: it depends on the seed, the count of batches, and what it is for."""
        batch = self.spec.seed * 1_000_003 + self.batches.number(self.step, number)
        return torch.Generator().manual_seed(batch * self.method.views + purpose)

    def make_features(self) -> Iterator[Event]:
        """Take the features of the frozen backbone, computed once for this and all other runs."""
        wanted = wanted_features(self.table, self.spec.backbone, self.model, self.device)
        features = yield from kept_features(
            wanted, self.table.title, self.frozen_features, lambda: self.stopping, self.step
        )
        if features is not None:
            self.source = FeatureSource(features, self.device)

    def begin_head(self) -> Iterator[Event]:
        """Put a head that is to begin at the features' principal components there, unless the run goes on."""
        if self.spec.head.start != "components" or self.step > 0:
            return
        rows = spread_rows(self.split.train, self.source)
        features = []
        for part in chunks(len(rows)):
            if self.stopping:
                return
            features.append(self.frozen_features(rows[part]))
            yield Progress(self.step, "Looking at the features' main directions", int(part[-1]) + 1, len(rows))
        begin_with_components(self.model.head, torch.from_numpy(np.concatenate(features)))
        if self.average is not None:
            self.average.module.load_state_dict(self.model.state_dict())

    def take_kept_features(self) -> None:
        """Of a frozen backbone, take the features that are on the disk, if they are; nothing is computed."""
        if self.spec.backbone.freeze == "everything" and isinstance(self.source, PixelSource):
            with suppress(DamagedFeatures):
                wanted = wanted_features(self.table, self.spec.backbone, self.model, self.device)
                features = open_kept(wanted)
                if features is not None:
                    self.source = FeatureSource(features, self.device)

    @torch.inference_mode()
    def frozen_features(self, rows: np.ndarray) -> np.ndarray:
        """The features (n, feature_size) of rows of the table, by the backbone as it is; it learns nothing of them."""
        self.model.eval()
        try:
            return self.source.features(self.model, rows).float().cpu().numpy()
        finally:
            self.model.train()

    def started(self) -> Started:
        learned = () if self.distillation is None else self.distillation.parameters()
        everything = [*self.model.parameters(), *self.method.parameters(), *learned]
        held_labels = self.table.labels[self.split.held_out]
        step = self.step if self._restored else checkpoints.step_of(self.resume_from)
        return Started(
            step=step,
            from_step=step,
            total_steps=self.spec.budget.steps,
            train_images=len(self.split.train),
            held_out_images=len(self.split.held_out),
            train_classes=len(self.classes),
            held_out_classes=len(np.unique(held_labels)),
            parameters=sum(p.numel() for p in everything),
            trainable=sum(p.numel() for p in everything if p.requires_grad),
            device=str(self.device),
            threads=self.threads,
            fingerprint=self.table.fingerprint,
            coverage=self.sampler.coverage() | {"batches_per_step": self.spec.optimizer.accumulate},
            input=self.model.backbone.input_format.adapted(self.table.image_size, self.table.channels),
        )


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def mean_parts(outcomes: list[Outcome]) -> dict[str, float]:
    """The finite shares of the loss by name, their mean over the batches of a step."""
    named: dict[str, list[float]] = {}
    for outcome in outcomes:
        for name, share in outcome.parts.items():
            if math.isfinite(share):
                named.setdefault(name, []).append(share)
    return {name: mean(shares) for name, shares in named.items()}


def load_table(spec: RunSpec) -> ImageTable:
    """The run's images; TrainingFault if they are missing, unreadable, or not those that the run was made with."""
    choice = spec.dataset
    try:
        table = load(choice.key, **choice.params)
    except (ValueError, OSError) as error:
        text = f"The images of '{choice.key}' cannot be read: {error}"
        raise TrainingFault("data_missing", text) from error
    if choice.fingerprint not in ("", table.fingerprint):
        raise TrainingFault(
            "data_changed",
            f"The images of '{choice.key}' are not those that this run was made with. "
            "Duplicate the run to train on the present ones.",
        )
    return table


def nonfinite_fault(done: StepDone) -> TrainingFault:
    rates = ", ".join(f"{name} {rate:g}" for name, rate in done.learning_rates.items())
    return TrainingFault(
        "nonfinite_loss",
        f"The loss was not a number for {NONFINITE_LIMIT} steps in a row, up to step {done.step} "
        f"(learning rates: {rates}). Try learning rates ten times smaller, or clip the gradients.",
    )
