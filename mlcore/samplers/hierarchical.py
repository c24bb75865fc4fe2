"""Batches of a few related classes: classes of the same super class come together."""

from __future__ import annotations

import itertools
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from mlcore.declare import Knob
from mlcore.samplers.epochs import count_coverage, draw_rows, epoch_generator, row_labels, rows_by_class
from mlcore.samplers.registry import SAMPLERS
from mlcore.traits import SamplerTrait


@SAMPLERS.add(
    "hierarchical",
    title="Hierarchical",
    family="hierarchy",
    aliases=("HierarchicalSampler (pytorch-metric-learning)",),
    traits=(SamplerTrait.PARENT_LABELS,),
)
class HierarchicalSampler:
    """Fills each batch from a few super classes, so that the negatives of a class are mostly its close relations.

    Every combination of `super_classes_per_batch` super classes gets `batches_per_super_tuple` batches an epoch. Each
    super class has an equal part of the batch, filled class by class in random order, `samples_per_class` of each
    (None takes whole classes). Batches are always full (pytorch-metric-learning's can come out short): a super
    class with few samples shows them again.

    What to expect: Harder negatives than at random, without a miner. The number of batches grows with the power of
    `super_classes_per_batch`: 100 super classes have 4,950 pairs. An epoch need not visit every sample; see the
    coverage.

    Shapes: labels (N, levels) whole numbers, or at least two columns of them.
    Raises: ValueError for labels of one level, and for a batch that the super classes cannot share evenly.
    """

    visits_everyone = False

    def __init__(
        self,
        labels: ArrayLike,
        batch_size: int,
        samples_per_class: Annotated[
            int | None, Knob("Samples of each class in a batch.", 1, 1024, none="whole classes")
        ] = 4,
        batches_per_super_tuple: Annotated[
            int, Knob("Batches of each combination of super classes in an epoch.", 1, 1000)
        ] = 4,
        super_classes_per_batch: Annotated[int, Knob("Super classes that share a batch.", 1, 64)] = 2,
        inner_label: Annotated[int, Knob("Column of the labels with the classes.", 0, 63)] = 0,
        outer_label: Annotated[int, Knob("Column of the labels with the super classes.", 0, 63)] = 1,
    ) -> None:
        table = np.asarray(labels)
        if table.ndim != 2 or max(inner_label, outer_label) >= table.shape[1] or inner_label == outer_label:
            raise ValueError(
                f"hierarchical: labels must be one whole number per training row and level, with columns {inner_label} "
                f"and {outer_label}; got shape {table.shape}. Use m per class where there is one level."
            )
        self.labels = row_labels("hierarchical", table[:, inner_label])
        supers = row_labels("hierarchical", table[:, outer_label])
        self.batch_size = batch_size
        self.samples_per_class = samples_per_class
        self.batches_per_super_tuple = batches_per_super_tuple
        self.super_classes_per_batch = super_classes_per_batch
        rows_of_super = rows_by_class(supers)
        self.classes_of_super = [[rows[part] for part in rows_by_class(self.labels[rows])] for rows in rows_of_super]
        share = batch_size // super_classes_per_batch
        if batch_size % super_classes_per_batch or share == 0 or share % (samples_per_class or 1):
            each = super_classes_per_batch * (samples_per_class or 1)
            raise ValueError(
                f"hierarchical: batch_size must be a multiple of super_classes_per_batch * samples_per_class = {each}; "
                f"got {batch_size}. Pass batch_size={max(1, round(batch_size / each)) * each}."
            )
        if super_classes_per_batch > len(rows_of_super):
            raise ValueError(
                f"hierarchical: super_classes_per_batch must be at most the {len(rows_of_super)} super classes; got "
                f"{super_classes_per_batch}."
            )

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(batches, batch_size) positions into `labels`; depends on `epoch` and `seed` only."""
        rng = epoch_generator(epoch, seed)
        together = itertools.combinations(range(len(self.classes_of_super)), self.super_classes_per_batch)
        batches = [
            np.concatenate([self.part(self.classes_of_super[one], rng) for one in supers])
            for supers in together
            for _ in range(self.batches_per_super_tuple)
        ]
        return np.stack(batches)[rng.permutation(len(batches))]

    def part(self, classes: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """One super class's rows of a batch."""
        share = self.batch_size // self.super_classes_per_batch
        rows: list[np.ndarray] = []
        count = 0
        while count < share:
            for of_class in rng.permutation(len(classes)):
                own = classes[of_class]
                rows.append(draw_rows(own, self.samples_per_class or len(own), rng))
                count += len(rows[-1])
                if count >= share:
                    break
        return np.concatenate(rows)[:share]

    def coverage(self) -> dict[str, int]:
        """Samples and classes visited in an epoch, and how many there are."""
        return count_coverage(self.epoch(1, 0), self.labels)
