"""Metrics as they are declared: their values are those of the modules that define them, and each says what it is."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlcore
from mlcore.environment import child_environment
from mlcore.evaluation import ami, evaluate_retrieval, nmi, rank, side
from mlcore.evaluation.metrics import METRICS, PRIMARY, Family, mean_values, measure
from mlcore.evaluation.metrics.registry import MetricRegistry
from mlcore.evaluation.side import Side, search_gallery


def sample(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.arange(count) % 7
    return random.standard_normal((7, 5))[labels] + random.standard_normal((count, 5)), labels


def told(one: Side) -> dict[str, float | int | None]:
    return mean_values(one, measure(one, METRICS.values()))


def test_metrics_of_a_side_are_those_of_the_functions_that_define_them():
    rows, labels = sample()
    ranked = rank(rows, labels).mean()
    expected = evaluate_retrieval(rows, labels) | {name: ranked[name] for name in ("map", "mrr")}
    assert told(Side(rows, labels)) == pytest.approx(expected | {"nmi": nmi(rows, labels), "ami": ami(rows, labels)})


def test_queries_ask_a_gallery_where_the_side_names_them():
    rows, labels = sample()
    asked, gallery = np.arange(20), np.arange(20, 60)
    found = told(Side(rows, labels, search_gallery(rows[asked], labels[asked], rows[gallery], labels[gallery])))
    expected = rank(rows[asked], labels[asked], rows[gallery], labels[gallery]).mean()
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["nmi"] == nmi(rows, labels)


def test_what_sorts_everything_has_no_value_for_many_queries(monkeypatch):
    monkeypatch.setattr(side, "MOST_RANKED", 59)
    found = told(Side(*sample()))
    assert (found["map"], found["mrr"]) == (None, None)
    assert found["ami"] == ami(*sample())
    assert told(Side(*sample(), whole_gallery=True))["map"] > 0


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 0, 1], [0, 1, 2], []], ids=["one class", "one asks", "lone", "none"])
def test_where_nobody_can_be_wrong_there_is_no_value(labels):
    found = told(Side(np.eye(3)[: len(labels)], np.array(labels, int)))
    assert {found[metric.key] for metric in METRICS.of(Family.RETRIEVAL)} == {None}
    assert found["queries"] + found["lone_queries"] == len(labels)


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_says_what_it_is_and_stays_in_its_bounds(key):
    metric = METRICS[key]
    assert metric.description.endswith(".")
    assert metric.description[0].isupper()
    assert 0 < len(metric.short) <= len(metric.title) <= 30
    assert metric.paper
    if metric.family != Family.TEXTS:
        for value in np.atleast_1d(measure(Side(*sample()), [metric])[key]):
            assert metric.low <= value <= metric.high


def test_runs_are_compared_by_a_metric_that_every_look_has():
    assert METRICS[PRIMARY].family == Family.RETRIEVAL
    assert METRICS[PRIMARY].headline
    assert not METRICS[PRIMARY].expensive


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"key": "map_at_r"}, "declared twice"),
        ({"key": "hit rate"}, "letters, digits"),
        ({"family": "retreival"}, "Did you mean 'retrieval'"),
        ({"description": ""}, "must be a sentence"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(given, message):
    registry = MetricRegistry()
    registry.add("map_at_r", title="MAP@R", family="retrieval", description="A mean.")(len)
    declaration = {"key": "hits", "title": "Hits", "family": "retrieval", "description": "A share."} | given
    with pytest.raises(ValueError, match=message):
        registry.add(declaration.pop("key"), **declaration)


@pytest.mark.parametrize(
    ("family", "value", "message"),
    [
        ("retrieval", 0.5, "one number for each of the 60 queries"),
        ("clusters", np.zeros(60), "must give one number, or None"),
        ("clusters", np.nan, "not finite"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(family, value, message):
    registry = MetricRegistry()
    registry.add("odd", title="Odd", family=family, description="Odd.")(lambda _: value)
    with pytest.raises(ValueError, match=f"'odd'.*{message}"):
        measure(Side(*sample()), registry.values())


def test_what_there_is_can_be_read_without_torch_and_faiss():
    code = (
        "import sys; from mlcore.evaluation.metrics import METRICS\n"
        "assert METRICS['nmi'].title == 'NMI'\n"
        "assert not {'torch', 'faiss', 'sklearn', 'scipy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], env=child_environment(), check=True)


def test_no_page_and_no_command_lists_metrics_of_its_own():
    root = Path(mlcore.__file__).parents[1]
    names = {key for key in METRICS if "_" in key or key in ("nmi", "ami", "mrr")}
    names |= {metric.title for metric in METRICS.values()}
    own = root / "mlcore" / "evaluation"
    files = [path for room in ("app", "pages", "mlcore") for path in (root / room).rglob("*.py")]
    found = [
        f"{path.relative_to(root)}:{node.lineno} {node.value}"
        for path in files
        if not path.is_relative_to(own)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert len(files) > 100
    assert not found


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("searched", ["itself", "gallery", "gallery with the queries"])
def test_hits_are_those_that_recall_counts(searched, normalize):
    rows, labels = sample()
    labels[-1] = 99  # alone
    how = {"normalize": normalize, "whole_gallery": True}
    one = {
        "itself": Side(rows, labels, **how),
        "gallery": Side(rows, labels, search_gallery(rows[:20], labels[:20], rows[20:], labels[20:]), **how),
        "gallery with the queries": Side(
            rows, labels, search_gallery(rows[:20], labels[:20], rows, labels, np.arange(20)), **how
        ),
    }[searched]
    for k in (1, 2, 4, 8):
        np.testing.assert_array_equal(one.hits(k).any(axis=1), one.ranking.metrics[f"recall_at_{k}"])
    assert one.hits(1000).shape == (len(one.asked), 40 if searched == "gallery" else 59)
    assert one.hits(1000).any(axis=1).all()


def test_the_example_of_a_metric_is_a_whole_file_that_is_found_by_itself(tmp_path):
    package = Path(mlcore.__file__).parent
    text = (package.parent / "CONTRIBUTING.md").read_text()
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "@METRICS.add" in block]
    copy = tmp_path / "mlcore"
    shutil.copytree(package / "evaluation", copy / "evaluation", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "declare.py"):
        shutil.copy(package / name, copy)
    (copy / "evaluation" / "metrics" / "hit_rate.py").write_text(example)
    code = (
        "import numpy as np; from mlcore.evaluation.metrics import METRICS, mean_values, measure\n"
        "from mlcore.evaluation.side import Side\n"
        "side = Side(np.eye(4), np.array([0, 0, 1, 1]))\n"
        "found = mean_values(side, measure(side, METRICS.values()))\n"
        "print(found['hit_rate_at_16'], list(METRICS).index('hit_rate_at_16'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["1.0", str(len(METRICS.of(Family.RETRIEVAL)))]
