"""Distillation: what another model makes of the training images, and how far a run's own embeddings are from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.backbones import BACKBONES
from mlcore.data import ImageTable, Split
from mlcore.runs.checkpoints import check_unchanged, last_checkpoint, teacher_run
from mlcore.runs.folder import Runs
from mlcore.runs.history import training_fingerprint
from mlcore.spec.data_split import build_split
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import HeadChoice, TeacherChoice
from mlcore.training.build import build_model
from mlcore.training.checkpoint import unpack_modules
from mlcore.training.embedder import Embedder
from mlcore.training.events import Event, Progress, TrainingFault, Warned
from mlcore.training.feature_source import Source, row_chunks
from mlcore.training.methods import Outcome, TrainingMethod
from mlcore.training.optim import average_weights


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model that teaches. `sha256`: of the checkpoint that it comes from, "" for a backbone's own features; `seen`:
    the rows of the table that it was trained on."""

    model: Embedder
    sha256: str
    seen: np.ndarray


def open_teacher(choice: TeacherChoice, table: ImageTable, runs: Path | str | None) -> Teacher:
    """The teacher of a run on `table`; a run that teaches lies in `runs`, by default $LAB_RUNS, else ./runs.

    Raises: TrainingFault where it is not there, not what it was, or was trained on other images.
    """
    try:
        if choice.backbone:
            return Teacher(own_features(choice, table), "", np.zeros(0, dtype=np.int64))
        return load_teacher(choice, table, Runs(runs or os.environ.get("LAB_RUNS", "runs")))
    except ValueError as error:
        raise TrainingFault("teacher_unfit", str(error)) from error


def open_distillation(spec: RunSpec, table: ImageTable, size: int, runs: Path | str | None) -> Distillation | None:
    """What a run on `table` with embeddings of that size learns from a teacher; None where there is none."""
    if spec.teacher is None:
        return None
    return Distillation(spec.teacher, size, open_teacher(spec.teacher, table, runs))


def own_features(choice: TeacherChoice, table: ImageTable) -> Embedder:
    """The backbone without a head."""
    sizes = {"image_size": table.image_size, "channels": table.channels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Embedder(BACKBONES[choice.backbone].build(sizes, **choice.params), HeadChoice(kind="none"), "everything")


def load_teacher(choice: TeacherChoice, table: ImageTable, runs: Runs) -> Teacher:
    run = teacher_run(choice, runs)
    if training_fingerprint(run) not in ("", table.fingerprint):
        raise ValueError(
            f"The teacher, {run.title()}, was trained on other images than '{table.title}' as they are now. Choose a "
            "run on the same ones."
        )
    checkpoint = last_checkpoint(run)
    sha256 = hashlib.sha256(checkpoint).hexdigest()
    check_unchanged(choice, run, sha256)
    spec = run.spec
    with torch.random.fork_rng(devices=[]):
        model = build_model(spec, table)
    average = None if spec.optimizer.ema is None else average_weights(model, spec.optimizer.ema)
    kept: dict[str, nn.Module] = {"model": model} if average is None else {"average": average}
    unpack_modules(checkpoint, kept, run.record.sha256)
    shown = model if average is None else average.module
    return Teacher(shown, sha256, build_split(spec.dataset, table).train)


class Distillation(nn.Module):
    """How far embeddings are from those that a teacher gives of the same images, unaugmented.

    The teacher's embeddings are taken at length 1, then without what all training images have in common (their mean),
    again at length 1: features that are never negative all point the same way, and to copy that keeps classes together
    that the loss wants apart (contrastive loss beside EfficientNet-Lite0 on glyphs, MAP@R on unseen classes over three
    seeds: .595 with the mean, .663 without, .671 without a teacher). "cosine" is the mean of 1 - cos. "mse" is the mean
    squared distance of the embedding as it is from the teacher's, so that it settles the length as well; with both at
    length 1 it would be the cosine's but for a factor of 2.

    Where the student's embedding is not as long as the teacher's, a linear map that is learned leads to it, and is
    thrown away after training, as in FitNets (Romero et al., ICLR 2015, arXiv:1412.6550), whose regressor leads from
    the student's layer to the teacher's hint.

    What to expect: The teacher's neighbours. A run that was trained on these images teaches well, also one that is no
    better (glyphs, MAP@R on unseen classes, one seed: a run of .563 beside a contrastive loss .682 -> .748, alone
    .734). Features of ImageNet add nothing to a loss there. Behind a map the embedding may lie askew: it holds what the
    teacher's can be computed from, not the same cosines. A teacher that was trained on held-out images passes them on,
    and then the held-out metrics flatter.

    Shapes: embeddings (B, D) float; rows (B,) places in the training split. `ask` must have run to its end before.
    """

    def __init__(self, choice: TeacherChoice, embedding_size: int, teacher: Teacher) -> None:
        super().__init__()
        size = teacher.model.embedding_size
        self.measure, self.weight, self.alone = choice.measure, choice.weight, choice.alone
        self.map = nn.Linear(embedding_size, size) if size != embedding_size else nn.Identity()
        self.sha256 = teacher.sha256
        self.teacher: Teacher | None = teacher
        self.targets = torch.zeros(0, size)  # (N, T), at length 1, of each training image; not saved

    def ask(self, source: Source, split: Split, step: int, stopping: Callable[[], bool]) -> Iterator[Event]:
        """Have the teacher embed every training image once, and let it go then; it ends early where `stopping` says so.

        It warns where the teacher was trained on images that are held out now.
        """
        teacher = self.teacher
        if teacher is None:
            return
        leaked = int(np.isin(split.held_out, teacher.seen).sum())
        if leaked:
            text = f"The teacher was trained on {leaked:,} of the {len(split.held_out):,} images that are held out here"
            yield Warned(step, f"{text}, so held-out metrics flatter this run.")
        model, found = teacher.model.to(source.device).eval(), []
        for part in row_chunks(len(split.train)):
            with torch.no_grad():
                embeddings = model.head(source.features(model, split.train[part]))
            found.append(F.normalize(embeddings.float(), dim=1))
            yield Progress(step, "Asking the teacher", int(part[-1]) + 1, len(split.train))
            if stopping():
                return
        units = torch.cat(found)
        self.targets, self.teacher = F.normalize(units - units.mean(dim=0), dim=1), None

    def forward(self, embeddings: Tensor, rows: np.ndarray) -> Tensor:
        """The mean distance, a scalar, not weighted."""
        with torch.autocast(embeddings.device.type, enabled=False):
            found = self.map(embeddings.float())
            targets = self.targets[torch.from_numpy(rows).to(self.targets.device)]
            if self.measure == "mse":
                return (found - targets).square().sum(dim=1).mean()
            return (1.0 - F.cosine_similarity(found, targets, dim=1)).mean()

    def outcome(
        self, method: TrainingMethod, head: nn.Module, features: tuple[Tensor, ...], labels: Tensor, rows: np.ndarray
    ) -> Outcome:
        """What the method makes of a batch, with the distance of the first view's embeddings added to its loss."""
        if self.alone:
            embeddings = head(features[0])
            return Outcome(self.weight * self(embeddings, rows), None, {}, (embeddings,))
        outcome = method(head, features, labels, rows)
        share = self.weight * self(outcome.embeddings[0], rows)
        parts = (outcome.parts or {"metric": outcome.loss.item()}) | {"teacher": share.item()}
        return replace(outcome, loss=outcome.loss + share, parts=parts)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(bytes.fromhex(self.sha256 or "00")), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Raises: TrainingFault where the run was begun with another teacher."""
        if not torch.equal(state, self.get_extra_state()):
            raise TrainingFault(
                "teacher_unfit",
                "The teacher has been trained on since this run was begun. Start a new run to learn from it as it is.",
            )
