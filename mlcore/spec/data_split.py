"""Which images of a run train and which are held out: the one place where a spec's choice becomes a split."""

from __future__ import annotations

import numpy as np

from mlcore.data import ImageTable, Split, split
from mlcore.spec.sections import DataChoice


def build_split(choice: DataChoice, table: ImageTable) -> Split:
    """Which images train and which are held out. Raises: ValueError where the table has no such split."""
    return split(
        table.labels,
        choice.split,
        choice.held_out,
        choice.split_seed,
        splits=table.splits,
        folds=table.folds,
        fold=choice.fold,
        class_rule=choice.class_rule,
    )


def count_classes_to_generalise(table: ImageTable, split: Split) -> int | None:
    """How many classes a run learns from to tell others apart; None where all held-out classes are trained on."""
    trained, held_out = (np.unique(table.labels[rows]) for rows in (split.train, split.held_out))
    return len(trained) if len(np.setdiff1d(held_out, trained)) else None
