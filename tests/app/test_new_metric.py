"""A metric is declared once, with its function; everything that measures, shows and compares then has it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from mlcore.__main__ import main
from mlcore.evaluation.metrics import METRICS
from mlcore.evaluation.side import Side
from mlcore.runs.folder import Runs
from mlcore.runs.history import History

QUICK = ["--dataset", "digits", "--backbone", "mlp", "--loss", "arcface", "--steps", "4", "--set", "threads=1"]


@pytest.fixture(scope="module")
def metric():
    @METRICS.add(
        "mates_ahead",
        title="Mates ahead",
        short="Mates",
        family="retrieval",
        description="How many of the nearest two samples are of the query's class.",
        high=2.0,
        headline=True,
    )
    def mates_ahead(side: Side) -> np.ndarray:
        return 2.0 * side.ranking.metrics["recall_at_2"]

    yield METRICS["mates_ahead"]
    METRICS.remove("mates_ahead")


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("old") / "runs"
    assert main(["train", *QUICK, "--runs", str(root)]) == 0
    return Runs(root).all()[0]


@pytest.fixture(scope="module")
def runs(old_run, metric, tmp_path_factory):
    root = tmp_path_factory.mktemp("new") / "runs"
    assert main(["train", *QUICK, "--seeds", "2", "--name", "New", "--runs", str(root)]) == 0
    return Runs(root)


def history_of(run):
    history = History(run)
    history.refresh()
    return history


def metrics_page(history):
    def script(history, shown):
        from app.lab.panels import curve_panel, metrics_panel

        metrics_panel(history, shown)
        curve_panel(history, 4, 4, "second", "map_at_r")

    seen = SimpleNamespace(evaluations=history.evaluations, steps=[])
    return AppTest.from_function(
        script, kwargs={"history": seen, "shown": seen.evaluations[-1]}, default_timeout=PATIENCE_S
    ).run()


def test_every_look_at_a_run_measures_it(runs):
    looks = history_of(runs.all()[0]).evaluations
    for look in looks:
        for side in ("held_out", "train"):
            assert look[side]["mates_ahead"] == pytest.approx(2 * look[side]["recall_at_2"])
    assert looks[0]["backbone"]["mates_ahead"] > 0


def test_the_lab_has_a_tile_and_a_curve_of_it(runs):
    history = history_of(runs.all()[0])
    page = metrics_page(history)
    assert not page.exception
    tile = next(tile for tile in page.metric if tile.label == "Mates ahead")
    assert tile.value == f"{history.evaluations[-1]['held_out']['mates_ahead']:.4g}"
    assert "Mates ahead: held out" in tile.proto.help
    assert METRICS["mates_ahead"].description in tile.proto.help
    (curve,) = page.selectbox
    assert curve.value == "map_at_r"
    assert "Mates ahead" in curve.options
    curve.set_value("mates_ahead").run()
    assert not page.exception
    assert page.selectbox[0].value == "mates_ahead"


def test_the_command_line_tells_it_everywhere(runs, capsys):
    name, root = runs.ids()[0], ["--runs", str(runs.root)]

    def said(*words):
        capsys.readouterr()
        assert main([*words, *root]) == 0
        return capsys.readouterr().out

    assert "mates_ahead" in said("show", name)
    assert "Mates 1." in said("show", name)  # of the backbone's own features
    evaluated = json.loads(said("evaluate", name, "--per-class", "--json"))
    assert evaluated["figures"]["mates_ahead"] == pytest.approx(2 * evaluated["figures"]["recall_at_2"])
    assert evaluated["per_class"][0]["figures"]["mates_ahead"] >= 0
    assert "mates_ahead" in said("evaluate", name)
    assert "Mates" in said("evaluate", name, "--per-class")
    spread = json.loads(said("spread", *runs.ids(), "--json"))
    assert len(spread["after"]["mates_ahead"]["values"]) == 2
    assert "mates_ahead" in said("spread", *runs.ids())
    listed = json.loads(said("runs", "--json"))
    assert all(row["held_out"]["mates_ahead"] > 0 for row in listed)


def test_what_a_run_has_and_nothing_here_declares_is_shown_by_its_key(runs, metric, capsys):
    run = runs.all()[0]
    value = history_of(run).evaluations[-1]["held_out"]["mates_ahead"]
    METRICS.remove("mates_ahead")
    try:
        page = metrics_page(history_of(run))
        assert not page.exception
        assert f"mates\\_ahead \\(not declared here\\): held out {value:.4g}" in page.metric[0].proto.help
        assert main(["show", run.run_id, "--runs", str(runs.root)]) == 0
        assert "mates_ahead" in capsys.readouterr().out
        assert main(["spread", *runs.ids(), "--runs", str(runs.root)]) == 0
        assert "mates_ahead" in capsys.readouterr().out
    finally:
        METRICS._metrics["mates_ahead"] = metric


def test_a_run_of_before_is_shown_without_it(old_run, metric, capsys):
    page = metrics_page(history_of(old_run))
    assert not page.exception
    assert [tile.label for tile in page.metric] == ["Recall@1", "MAP@R", "NMI"]
    assert "Mates ahead" not in page.selectbox[0].options
    capsys.readouterr()
    assert main(["show", old_run.run_id, "--runs", str(old_run.path.parent)]) == 0
    assert "map_at_r" in (said := capsys.readouterr().out)
    assert "mates_ahead" not in said
    assert main(["evaluate", old_run.run_id, "--runs", str(old_run.path.parent)]) == 0
    assert "mates_ahead" in capsys.readouterr().out
