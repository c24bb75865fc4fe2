"""From a RunSpec to every part of its run, before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mlcore.data import ImageTable, Split, load
from mlcore.samplers import SAMPLERS
from mlcore.spec.data_split import build_split, count_classes_to_generalise
from mlcore.spec.learning_rates import base_rates, build_schedule
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.schedules import PlateauSchedule, Schedule
from mlcore.text.image_texts import ImageTexts
from mlcore.training.batches import Batches
from mlcore.training.build import (
    TrainingRows,
    build_augmentation,
    build_method,
    build_model,
    build_sampler,
    build_subset_miner,
)
from mlcore.training.checkpoint import CheckpointState
from mlcore.training.device import default_threads, pick_device
from mlcore.training.embedder import Embedder
from mlcore.training.evaluator import WatchSample, choose_sample
from mlcore.training.events import Started, TrainingFault
from mlcore.training.feature_source import FeatureReader, FeatureSource, PixelSource, Source
from mlcore.training.methods import TrainingMethod
from mlcore.training.optim import Average, Plateau, Scaler, average_weights, build_optimizer, half_precision
from mlcore.training.teacher import Distillation, open_distillation
from mlcore.traits import SamplerTrait


@dataclass(frozen=True, eq=False)
class Prepared:
    """The parts of a run, by which a step can be taken.

    `train_labels` (N,) are the classes of the training split, renumbered from 0; `classes` (C,) their numbers in the
    table. `autocast_dtype` is None for full precision. `average` is the moving average of the model's weights, where
    the run keeps one. `state` is what a checkpoint saves and restores.
    """

    spec: RunSpec
    device: torch.device
    threads: int
    table: ImageTable
    split: Split
    sample: WatchSample
    classes: np.ndarray
    train_labels: np.ndarray
    model: Embedder
    method: TrainingMethod
    subset_miner: nn.Module | None
    distillation: Distillation | None
    features: FeatureReader
    batches: Batches
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    plateau: Plateau | None
    autocast_dtype: torch.dtype | None
    scaler: Scaler | None
    average: Average | None
    state: CheckpointState

    @property
    def eval_model(self) -> Embedder:
        """The model that is evaluated: the average of its weights, where one is kept."""
        return self.model if self.average is None else self.average.module

    @property
    def distill_only(self) -> bool:
        """Whether the teacher's embeddings are all that is learned from; proxies then stay as they were drawn."""
        return self.distillation is not None and self.distillation.alone

    def started(self, step: int) -> Started:
        """The event of a run that begins, or goes on after `step`."""
        learned = () if self.distillation is None else self.distillation.parameters()
        parameters = [*self.model.parameters(), *self.method.parameters(), *learned]
        return Started(
            step=step,
            from_step=step,
            total_steps=self.spec.budget.steps,
            train_images=len(self.split.train),
            held_out_images=len(self.split.held_out),
            train_classes=len(self.classes),
            held_out_classes=len(np.unique(self.table.labels[self.split.held_out])),
            parameters=sum(p.numel() for p in parameters),
            trainable=sum(p.numel() for p in parameters if p.requires_grad),
            device=str(self.device),
            threads=self.threads,
            fingerprint=self.table.fingerprint,
            coverage=self.batches.sampler.coverage() | {"batches_per_step": self.spec.optimizer.accumulate},
            input=self.model.backbone.input_format.adapted(self.table.image_size, self.table.channels),
        )


def prepare(spec: RunSpec, *, runs: str | Path | None = None) -> Prepared:
    """Load the data and build every part. A run that teaches lies in `runs`, by default $LAB_RUNS, else ./runs.

    Sets torch's threads and determinism, and seeds its global generator with `spec.seed`, from which weights are drawn.

    Raises: TrainingFault when the data or the teacher is not there; ValueError when the parts do not fit together.
    """
    device, threads = pick_device(spec.device), spec.threads or default_threads()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(spec.deterministic, warn_only=True)
    torch.manual_seed(spec.seed)

    table = load_table(spec)
    split = build_split(spec.dataset, table)
    classes, train_labels = np.unique(table.labels[split.train], return_inverse=True)
    texts = ImageTexts(table.texts, table.class_names, table.labels, split.train, split.held_out)
    rows = TrainingRows(train_labels, table.label_levels[split.train], texts)

    model = build_model(spec, table).to(device)
    method = build_method(spec, rows, model).to(device)
    subset_miner = build_subset_miner(spec, method)
    features = FeatureReader(model, open_source(spec, table, device), split.train)
    sampler = build_sampler(spec, rows, features.embed, method.miner)
    distillation = open_distillation(spec, table, model.embedding_size, runs)
    if distillation is not None:
        distillation.to(device)

    steps, choice = spec.budget.steps, spec.optimizer
    learned = () if distillation is None else distillation.parameters()
    rates = base_rates(choice, spec.head, count_classes_to_generalise(table, split), steps)
    optimizer = build_optimizer(choice, model, method, learned, rates=rates, idle=steps == 0)
    autocast_dtype = half_precision(spec.precision, device)
    scaler = Scaler(device.type) if autocast_dtype == torch.float16 else None
    schedule = build_schedule(choice, steps)
    plateau = Plateau(schedule) if isinstance(schedule, PlateauSchedule) else None
    average = average_weights(model, choice.ema) if choice.ema is not None else None

    modules = {
        "model": model,
        "method": method,
        "distillation": distillation,
        "subset_miner": subset_miner,
        "scaler": scaler,
        "plateau": plateau,
        "average": average,
    }
    state = CheckpointState({name: module for name, module in modules.items() if module is not None}, optimizer)
    looks = SamplerTrait.LOOKS_AT_THE_MODEL in SAMPLERS[spec.sampler.key].traits
    return Prepared(
        spec=spec,
        device=device,
        threads=threads,
        table=table,
        split=split,
        sample=choose_sample(table, split, spec.watch.points, spec.dataset.split_seed),
        classes=classes,
        train_labels=train_labels,
        model=model,
        method=method,
        subset_miner=subset_miner,
        distillation=distillation,
        features=features,
        batches=Batches(sampler, spec.seed, choice.accumulate, state if looks else None),
        optimizer=optimizer,
        schedule=schedule,
        plateau=plateau,
        autocast_dtype=autocast_dtype,
        scaler=scaler,
        average=average,
        state=state,
    )


def open_source(spec: RunSpec, table: ImageTable, device: torch.device) -> Source:
    """A data set's own vectors, or its images with the run's augmentation."""
    if table.vectors is not None:
        return FeatureSource(table.vectors, device)
    return PixelSource(table, device, build_augmentation(spec))


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
