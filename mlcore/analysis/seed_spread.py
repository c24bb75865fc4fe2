"""One experiment with several seeds: how far the metrics of its runs lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from mlcore.evaluation.mean_std import Spread, differing_settings, gain_over_start, spread_by_metric
from mlcore.evaluation.metrics import METRICS
from mlcore.runs.folder import RunFolder
from mlcore.runs.history import History, training_fingerprint
from mlcore.runs.records import NamedNumbers
from mlcore.runs.states import RunState


class SpreadRecord(TypedDict):
    mean: float | None
    std: float | None
    values: list[float | None]


class SeedSpread(TypedDict):
    """What `spread_of_runs` answers, as plain values."""

    run_ids: list[str]
    name: str
    seeds: list[int]
    step: int
    no_training: dict[str, SpreadRecord]
    before: dict[str, SpreadRecord]
    after: dict[str, SpreadRecord]
    gain: dict[str, SpreadRecord]


def spread_of_runs(runs: Sequence[RunFolder]) -> SeedSpread:
    """How far the held-out metrics of runs lie apart that differ in their seed only.

    The answer is plain: `run_ids`, `seeds`, `step`, and for `no_training` (the backbone's own features), `before`
    (step 0), `after` and `gain` (of each run over itself) a record of metrics, each with `mean`, `std` (n - 1) and the
    runs' `values`.

    Raises: ValueError for fewer than two runs, one that is not done, two of one seed, or runs that differ in more than
    seed and name; the message names what differs.
    """
    if len(runs) < 2:
        raise ValueError(f"A spread needs at least two runs; got {len(runs)}.")
    for run in runs:
        if run.state != RunState.DONE:
            raise ValueError(f"{run.title()} is {run.state}; only runs that are done can be compared.")
    check_alike(runs)
    histories = [History(run) for run in runs]
    for run, history in zip(runs, histories, strict=True):
        history.refresh()
        if not history.evaluations:
            raise ValueError(f"{run.title()} was never evaluated, so it has no metrics.")
    looks = [[history.evaluations[place] for history in histories] for place in (0, -1)]
    steps = [look["step"] for look in looks[1]]
    if len(set(steps)) > 1:
        raise ValueError(f"Runs must have come equally far; these were last looked at at steps {join_values(steps)}.")
    none = [metrics_in(history.evaluations[0].get("backbone") or {}) for history in histories]
    before, after = ([metrics_in(look["held_out"]) for look in group] for group in looks)
    return {
        "run_ids": [run.run_id for run in runs],
        "name": runs[0].spec.changed({"name": ""}).title(),
        "seeds": [run.spec.seed for run in runs],
        "step": steps[0],
        "no_training": plain(spread_by_metric(none)),
        "before": plain(spread_by_metric(before)),
        "after": plain(spread_by_metric(after)),
        "gain": plain(spread_by_metric(gain_over_start(after, before))),
    }


def plain(spreads: Mapping[str, Spread]) -> dict[str, SpreadRecord]:
    return {name: {"mean": one.mean, "std": one.std, "values": one.values} for name, one in spreads.items()}


def check_alike(runs: Sequence[RunFolder]) -> None:
    """ValueError unless the runs are one experiment with several seeds, on the same images."""
    specs = [run.spec.model_dump(mode="json") for run in runs]
    for run, spec in zip(runs, specs, strict=True):
        spec["dataset"]["fingerprint"] = training_fingerprint(run)
    found = differing_settings(specs)
    if found:
        told = "; ".join(f"{name} ({join_values(values)})" for name, values in found.items())
        raise ValueError(f"Runs may differ in seed and name only; these differ in {told}.")
    seeds = [run.spec.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"Each run must have a seed of its own; got {join_values(seeds)}. One seed twice is one run.")


def metrics_in(record: NamedNumbers) -> NamedNumbers:
    return {metric.key: record[metric.key] for metric in METRICS.in_order(record)}


def join_values(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
