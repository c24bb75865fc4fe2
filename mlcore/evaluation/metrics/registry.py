"""How a metric declares itself, once: a function of a side of a split, with what people and pages are told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict, Unpack

import numpy as np

from mlcore.declare import nearest_word
from mlcore.evaluation.side import Side

Value = np.ndarray | float | None
Compute = Callable[[Side], Value]


COUNTS = ("queries", "lone_queries")  # beside the metrics of a side: how many were asked, and how many could not be


class Family(StrEnum):
    """What a metric looks at: what each query finds, the embeddings as a whole, or the texts beside images."""

    RETRIEVAL = "retrieval"
    CLUSTERS = "clusters"
    TEXTS = "texts"


@dataclass(frozen=True)
class Metric:
    """A declared metric.

    `key` is what files and --json call it, and is never renamed. `title` is what people read, `short` the same where
    there is little room, `description` one sentence. `low` and `high` bound it (None: it has no bound).
    An `expensive` one is measured at the first and the last evaluation of a run only; a `headline` one has a tile in
    the Lab.
    `aliases`: what other libraries call it.

    `compute` takes a Side. Of the family retrieval it gives one number for each query of `side.asked`, so that there
    are means over queries, over classes and of each class; of the others a number. None where there is no answer.
    """

    key: str
    title: str
    family: Family
    description: str
    compute: Compute
    short: str
    paper: str = ""
    aliases: tuple[str, ...] = ()
    low: float | None = 0.0
    high: float | None = 1.0
    higher_is_better: bool = True
    expensive: bool = False
    headline: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it is told as '.583': it lies between 0 or -1 and 1."""
        return self.high == 1.0 and self.low in (0.0, -1.0)


def undeclared_metric(key: str) -> Metric:
    """What stands for a metric that a run has and nothing here declares: it is shown by its key, as a plain number."""

    def compute(side: Side) -> Value:
        raise ValueError(f"The metric '{key}' is not declared here, so it cannot be measured.")

    text = "A metric that is not declared here: a newer version or a notebook has measured it."
    return Metric(key, f"{key} (not declared here)", Family.RETRIEVAL, text, compute, key, low=None, high=None)


class MoreOfMetric(TypedDict, total=False):
    """What a Metric may be told beside what it must be."""

    paper: str
    aliases: tuple[str, ...]
    low: float | None
    high: float | None
    higher_is_better: bool
    expensive: bool
    headline: bool


class MetricRegistry(Mapping[str, Metric]):
    """The declared metrics by key, family by family."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def add(
        self, key: str, *, title: str, family: str, description: str, short: str = "", **more: Unpack[MoreOfMetric]
    ) -> Callable[[Compute], Compute]:
        """Function decorator: declare a function of a Side as the metric `key`; see Metric for the rest.

        Raises: ValueError for a key that is taken or is no plain name, for an unknown family, and for a description
        that is missing or no sentence.
        """
        if key in self._metrics:
            raise ValueError(f"The metric '{key}' is declared twice. Give one of them another key.")
        if not key.isidentifier():
            raise ValueError(f"A metric's key must be letters, digits and '_', such as recall_at_1; got '{key}'.")
        if family not in list(Family):
            raise ValueError(f"{key}: there is no family '{family}'.{nearest_word(family, Family)}")
        if not description.endswith("."):
            raise ValueError(
                f"{key}: description must be a sentence that says what the metric is; got '{description}'."
            )

        def declare(compute: Compute) -> Compute:
            metric = Metric(key, title, Family(family), description, compute, short or title, **more)
            families = list(Family)
            by_family = sorted((*self._metrics.values(), metric), key=lambda one: families.index(one.family))
            self._metrics = {one.key: one for one in by_family}
            return compute

        return declare

    def remove(self, key: str) -> None:
        """Take a declaration back, as a test or a notebook does that tries one out."""
        del self._metrics[key]

    def of(self, *families: Family, expensive: bool | None = None) -> list[Metric]:
        """Those of the families (all where none is named), and if `expensive` is given, only such or only others."""
        wanted = families or tuple(Family)
        return [metric for metric in self.values() if metric.family in wanted and expensive in (None, metric.expensive)]

    def in_order(self, keys: Iterable[str]) -> list[Metric]:
        """The metrics of a record by its `keys`: the declared ones in the order of this registry, then any others.

        A run may have been measured where more were declared, by a newer version or a notebook.
        """
        wanted = [key for key in keys if key not in COUNTS]
        declared = [metric for metric in self.values() if metric.key in set(wanted)]
        return declared + [undeclared_metric(key) for key in wanted if key not in self]

    def __getitem__(self, key: str) -> Metric:
        try:
            return self._metrics[key]
        except KeyError:
            raise ValueError(f"There is no metric '{key}'.{nearest_word(key, self._metrics)}") from None

    def __contains__(self, key: object) -> bool:
        return key in self._metrics

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)


METRICS = MetricRegistry()
PRIMARY = "map_at_r"  # by which runs are compared: the Runs table, verdicts, lists of teachers


def measure(side: Side, metrics: Iterable[Metric]) -> dict[str, Value]:
    """What the metrics are on a side, by key; those of texts are left out where there are none.

    Raises: ValueError, naming the metric, for a value that is not of its family's kind or not finite.
    """
    found = {}
    for metric in metrics:
        if metric.family != Family.TEXTS or side.texts is not None:
            value = metric.compute(side)
            check_value(metric, value, len(side.asked))
            found[metric.key] = value
    return found


def check_value(metric: Metric, value: Value, asked: int) -> None:
    if value is None:
        return
    wanted = (asked,) if metric.family == Family.RETRIEVAL else ()
    if np.shape(value) != wanted:
        what = f"one number for each of the {asked} queries that are asked" if wanted else "one number"
        raise ValueError(f"The metric '{metric.key}' must give {what}, or None; got shape {np.shape(value)}.")
    if not np.isfinite(value).all():
        raise ValueError(f"The metric '{metric.key}' gave a number that is not finite. Give None for no answer.")


def mean_values(side: Side, values: Mapping[str, Value]) -> dict[str, float | int | None]:
    """What is told of a side: means over queries, with how many were asked.

    Means are None where nothing was asked, or where whatever the embeddings, nothing wrong could have been found.
    """
    told: dict[str, float | int | None] = {}
    for key, value in values.items():
        if METRICS[key].family == Family.RETRIEVAL and not (side.can_be_wrong and len(side.asked)):
            value = None
        told[key] = None if value is None else float(np.mean(value))
    asked = len(side.asked)
    return told | dict(zip(COUNTS, (asked, len(side.asking.labels) - asked), strict=True))
