"""The figures that take too long for every look at a run, for its first and last."""

from __future__ import annotations

import numpy as np

from mlcore.evaluation.clustering import ami
from mlcore.evaluation.ranking import rank
from mlcore.evaluation.retrieval import can_be_wrong

MOST_RANKED = 5000  # rows: two seconds of one core; twice as many take four times as long


def slow_figures(embeddings: np.ndarray, labels: np.ndarray, *, most: int = MOST_RANKED) -> dict[str, float | None]:
    """Return `map`, `mrr` and `ami` of a set among itself, beside those of `evaluate_retrieval` and `nmi`.

    `map` and `mrr` sort the whole set for each sample and are None for more than `most` samples, and where the figures
    of `evaluate_retrieval` are; `ami` is quick.

    Shapes: embeddings (N, D) float, not normalised; labels (N,) whole numbers.
    Raises: ValueError if there is no sample, or a number isn't finite.
    """
    told = len(embeddings) <= most and can_be_wrong(np.asarray(labels))
    ranked = rank(embeddings, labels, ks=(1,)).mean() if told else {}
    return {"map": ranked.get("map"), "mrr": ranked.get("mrr"), "ami": ami(embeddings, labels)}
