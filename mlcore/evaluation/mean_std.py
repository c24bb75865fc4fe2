"""How far metrics lie apart when only the seed differs: means, standard deviations, and whether runs may be pooled."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

Figures = Mapping[str, float | int | None]
MAY_DIFFER = ("seed", "name")


class Spread(NamedTuple):
    """One metric over several runs: mean, standard deviation with n - 1, and the values it is made of.

    `std` is None for a single value; both are None where a run has no such metric.
    """

    mean: float | None
    std: float | None
    values: list[float | None]

    def in_words(self) -> str:
        if self.mean is None:
            return "-"
        return f"{self.mean:z.3f}" if self.std is None else f"{self.mean:z.3f} ± {self.std:.3f}"


def mean_and_std(values: Sequence[float | None]) -> Spread:
    """The mean and standard deviation (n - 1) of one metric over runs.

    Raises: ValueError for no values, or one that is not finite.
    """
    if not values:
        raise ValueError("spread: there must be at least one value; got none.")
    there = [float(value) for value in values if value is not None]
    if not all(map(math.isfinite, there)):
        raise ValueError(f"spread: values must be finite; got {list(values)}.")
    if len(there) < len(values):
        return Spread(None, None, list(values))
    return Spread(statistics.fmean(there), statistics.stdev(there) if len(there) > 1 else None, [*there])


def spread_by_metric(records: Sequence[Figures]) -> dict[str, Spread]:
    """The spread of every metric that all records have, by name, in the order of the first."""
    names = [name for name in records[0] if all(name in record for record in records)] if records else []
    return {name: mean_and_std([record[name] for record in records]) for name in names}


def gain_over_start(after: Sequence[Figures], before: Sequence[Figures]) -> list[dict[str, float | None]]:
    """What each run has gained in each metric: of every record in `after`, less its own in `before`."""
    return [
        {name: difference(value, early[name]) for name, value in late.items() if name in early}
        for late, early in zip(after, before, strict=True)
    ]


def difference(late: float | None, early: float | None) -> float | None:
    return None if late is None or early is None else late - early


def differing_settings(
    specs: Sequence[Mapping[str, object]], may_differ: Sequence[str] = MAY_DIFFER
) -> dict[str, list[object]]:
    """The settings in which runs differ though they should not: dotted name -> each run's value, None where absent.

    `specs` are nested plain records, such as `RunSpec.model_dump(mode="json")`. Where runs have different parts, the
    part's `key` says so and its `params` are not named.
    """
    flat = [dict(flatten_record(spec)) for spec in specs]
    names = dict.fromkeys(name for one in flat for name in one)
    values = {name: [one.get(name) for one in flat] for name in names if name not in may_differ}
    found = {name: each for name, each in values.items() if any(value != each[0] for value in each)}
    return {name: each for name, each in found.items() if f"{name.partition('.params.')[0]}.key" not in found}


def flatten_record(record: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a nested record with its dotted name."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flatten_record(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
