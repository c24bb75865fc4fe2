"""Results in words and tables, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlcore.evaluation.mean_std import Figures, Spread
from mlcore.evaluation.metrics import METRICS, PRIMARY, Metric

if TYPE_CHECKING:
    from mlcore.analysis.evaluate_run import Evaluation, OneClass
    from mlcore.analysis.seed_spread import SeedSpread, SpreadRecord
    from mlcore.analysis.word_search import Answer

SEARCHED = {
    "self": "themselves",
    "sets_combined": "both sides of the split",
    "training": "the training side",
    "gallery": "the gallery",
}


def evaluation_in_words(result: Evaluation) -> str:
    """What `evaluate_run` gives: a metric a line, beside those of step 0 where there are any; then the classes."""
    reduced = f", {result['pca']} principal components" if result["pca"] else ""
    halves = "two_stream" in result["tester"]
    searched = "the first half of each class among the second" if halves else f"among {SEARCHED[result['reference']]}"
    metrics, before = result["figures"], result["untrained"]
    lines = [
        f"{result['name']}: step {result['step']}, {result['side']}, {result['images']} images of {result['classes']} "
        f"classes, searched {searched}, {result['tester']}{reduced}"
    ]
    if before:
        rows = [
            [name, format_number(before[name]), format_number(now), format_change(before[name], now)]
            for name, now in metrics.items()
        ]
        lines += align_columns([["metric", "before", "after", "change"], *rows])
    else:
        lines += align_columns([["metric", "after"], *([name, format_number(now)] for name, now in metrics.items())])
    if told := no_training_in_words(result["no_training"] or {}):
        lines.append(f"  {told}")
    if result["per_class"]:
        columns = primary_first(result["per_class"][0]["figures"])
        heads = ["class", "images", *(metric.short for metric in columns)]
        heads += [f"{METRICS[PRIMARY].short} before"] if before else []
        lines += ["", *align_columns([heads, *(class_row(one, columns) for one in result["per_class"])])]
    return "\n".join(lines)


def primary_first(told: Figures) -> list[Metric]:
    """The declared metrics of a record, the one by which runs are compared first."""
    return sorted(METRICS.in_order(told), key=lambda metric: metric.key != PRIMARY)


def no_training_in_words(told: Figures) -> str:
    """'no training: MAP@R 0.531, R@1 0.812 (the backbone's own features, held out)'; '' for no metrics."""
    values = {metric.short: told[metric.key] for metric in primary_first(told)}
    parts = [f"{word} {format_number(value)}" for word, value in values.items() if value is not None]
    return f"no training: {', '.join(parts)} (the backbone's own features, held out)" if parts else ""


def class_row(one: OneClass, columns: Sequence[Metric]) -> list[str]:
    cells = [one["class"], str(one["images"]), *(format_number(one["figures"][metric.key]) for metric in columns)]
    return cells if one["untrained"] is None else [*cells, format_number(one["untrained"][PRIMARY])]


def spread_in_words(result: SeedSpread) -> str:
    """What `spread_of_runs` gives: a metric a line, without and before training, after it, and what each run gained."""
    seeds = ", ".join(map(str, result["seeds"]))
    head = f"{result['name']}: seeds {seeds}, step {result['step']}, held out, mean ± standard deviation"
    columns = {
        "no training": result["no_training"],
        "before": result["before"],
        "after": result["after"],
        "change": result["gain"],
    }
    columns = {word: spreads for word, spreads in columns.items() if spreads}
    rows = [[name, *(spread_cell(spreads.get(name)) for spreads in columns.values())] for name in result["after"]]
    return "\n".join([head, *align_columns([["metric", *columns], *rows])])


def spread_cell(record: SpreadRecord | None) -> str:
    return Spread(**record).in_words() if record else "-"


def findings_in_words(result: Answer) -> str:
    """What `mlcore.analysis.word_search.search_words` gives: an image a line, the nearest first."""
    among = {"held_out": "held-out", "train": "training", "all": "all"}[result["side"]]
    asked = f"{result['name']}: '{result['words']}' at step {result['step']}"
    lines = [f"{asked}, among the {among} images that are watched"]
    if result["unheard"]:
        lines.append(f"In no training text: {', '.join(result['unheard'])}")
    rows = [
        [f"{hit['similarity']:.3f}", hit["image_name"], hit["text"] or hit["class_name"]] for hit in result["found"]
    ]
    return "\n".join([*lines, *align_columns([["cosine", "image", "its text"], *rows])])


def format_number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def format_change(before: float | int | None, after: float | int | None) -> str:
    return format_difference(after - before) if isinstance(before, float) and isinstance(after, float) else ""


def format_difference(difference: float) -> str:
    """'+0.190'; '0.000' without a sign where it is nothing when rounded."""
    return f"{difference:+.3f}" if round(difference, 3) else "0.000"


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, names to the left and numbers to the right; what a terminal would obey is shown as '?'."""
    cells = [["".join(letter if letter.isprintable() else "?" for letter in cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]).rstrip() for row in cells
    ]
