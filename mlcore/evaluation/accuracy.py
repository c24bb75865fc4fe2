"""The metrics of a set of queries, called as users of pytorch-metric-learning are used to."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from mlcore.declare import nearest_word
from mlcore.evaluation.metrics import METRICS, Family, Metric, Value, measure
from mlcore.evaluation.side import Side, search_gallery


def names_elsewhere() -> dict[str, Metric]:
    """The metrics of embeddings by the name that pytorch-metric-learning gives them, or by their key."""
    metrics = METRICS.of(Family.RETRIEVAL, Family.CLUSTERS)
    return {metric.aliases[0] if metric.aliases else metric.key: metric for metric in metrics}


class AccuracyCalculator:
    """Computes the metrics in `include` (all where it is empty) but not those in `exclude`.

    They go by the names that pytorch-metric-learning gives them, and METRICS' keys for those that it has not.

    Neighbours are by Euclidean distance of the embeddings as they are; scale them to length 1 first for the cosine.
    `avg_of_avgs` is the mean over classes instead of queries, `return_per_class` a list of it by class, in the order of
    the class numbers. `k` is how deep `mean_average_precision` and `mean_reciprocal_rank` look: None for the whole
    reference, "max_bin_count" for the size of its largest class (the query itself left out).

    Where it differs from pytorch-metric-learning: NMI and AMI cluster embeddings at length 1; a query that has nothing
    of its class in the reference is left out, and where all are, metrics are None instead of NaN; class numbers are
    compared as whole numbers, however large. There is no `label_comparison_fn`, `knn_func` or `kmeans_func`.

    Raises: ValueError for names that there are not, and for a `k` that is none of these.
    """

    def __init__(
        self,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
        avg_of_avgs: bool = False,
        return_per_class: bool = False,
        k: int | str | None = None,
    ) -> None:
        if not (k is None or k == "max_bin_count" or (isinstance(k, int) and not isinstance(k, bool) and k > 0)):
            raise ValueError(
                f"AccuracyCalculator: k must be a whole number from 1, 'max_bin_count' or None; got {k!r}."
            )
        self.names = choose_metrics(include, exclude)
        self.avg_of_avgs = avg_of_avgs
        self.return_per_class = return_per_class
        self.k = k

    def get_accuracy(
        self,
        query: Tensor | ArrayLike,
        query_labels: Tensor | ArrayLike,
        reference: Tensor | ArrayLike | None = None,
        reference_labels: Tensor | ArrayLike | None = None,
        ref_includes_query: bool = False,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> dict[str, float | list[float] | None]:
        """Return the metrics by name, of queries among themselves or in a reference.

        `ref_includes_query` says that the reference begins with the queries; then none finds itself. `include` and
        `exclude` narrow for this call what was chosen before.

        Shapes: query (Q, D), reference (N, D) float, tensors or arrays; labels (Q,) and (N,) whole numbers.
        Raises: ValueError for shapes that do not fit, numbers that are not finite, or a reference without labels.
        """
        if (reference is None) != (reference_labels is None):
            raise ValueError("AccuracyCalculator: reference and reference_labels go together; got one of them.")
        rows, labels = as_array(query), as_array(query_labels)
        names = [name for name in self.names if name in choose_metrics(include, exclude)]
        metrics = {name: names_elsewhere()[name] for name in names}
        alone = reference is None
        gallery, gallery_labels = rows, labels
        if reference is not None and reference_labels is not None:
            gallery, gallery_labels = as_array(reference), as_array(reference_labels)
        itself = np.arange(len(rows)) if alone or ref_includes_query else None
        side = Side(
            rows,
            labels,
            search_gallery(rows, labels, gallery, gallery_labels, itself),
            depth=self.depth(gallery_labels, within=alone or ref_includes_query),
            normalize=False,
            whole_gallery=True,
        )
        values = measure(side, metrics.values())
        return {name: self.told(side, metric, values[metric.key]) for name, metric in metrics.items()}

    def depth(self, gallery_labels: np.ndarray, *, within: bool) -> int | None:
        if not isinstance(self.k, str):
            return self.k
        return max(1, int(np.unique(gallery_labels, return_counts=True)[1].max()) - within)

    def told(self, side: Side, metric: Metric, value: Value) -> float | list[float] | None:
        """The mean over queries, or over classes, or the means of the classes; a number as it is."""
        if value is None or metric.family != Family.RETRIEVAL:
            return None if value is None else float(value)
        ranking = side.ranking._replace(metrics={metric.key: np.asarray(value)})
        if self.return_per_class:
            return [one[metric.key] for one in ranking.per_class().values()]
        return (ranking.mean_of_classes() if self.avg_of_avgs else ranking.mean())[metric.key]


def choose_metrics(include: Collection[str], exclude: Collection[str]) -> list[str]:
    known = names_elsewhere()
    for name in (*include, *exclude):
        if name not in known:
            raise ValueError(f"AccuracyCalculator: there is no metric '{name}'.{nearest_word(name, known)}")
    return [name for name in known if (name in include or not include) and name not in exclude]


def as_array(values: Tensor | ArrayLike) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
