"""The numbers beside the map: their change points the way it went, and the help names all there are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from app.lab.panels import before_words, metric_help
from app.lab.run_header import epoch_words
from app.lab.run_view import way_words
from mlcore.evaluation.metrics import METRICS
from mlcore.spec.run_spec import RunSpec


def evaluation(step: int, map_at_r: float, **more: float) -> dict:
    scores = {"recall_at_1": 0.5, "map_at_r": map_at_r, "nmi": 0.4, "queries": 1000} | more
    return {"step": step, "held_out": scores, "train": scores}


def page(before: float, now: float) -> AppTest:
    def script(history, shown):
        from app.lab.panels import metrics_panel

        metrics_panel(history, shown)

    looks = [evaluation(0, before), evaluation(10, now)]
    history = SimpleNamespace(evaluations=looks[:1], steps=[])
    return AppTest.from_function(
        script, kwargs={"history": history, "shown": looks[1]}, default_timeout=PATIENCE_S
    ).run()


@pytest.mark.parametrize(
    ("now", "delta", "colour"), [(0.62, "+.212", "GREEN"), (0.39, "-.018", "RED"), (0.4083, "±.000", "GRAY")]
)
def test_a_change_is_shown_as_what_it_is(now, delta, colour):
    metric = page(0.408, now).metric[1]
    assert metric.label == "MAP@R"
    assert metric.delta == delta
    assert metric.proto.MetricColor.Name(metric.proto.color) == colour
    assert (metric.proto.MetricDirection.Name(metric.proto.direction) == "NONE") == (colour == "GRAY")


def test_the_help_names_what_takes_long_only_where_it_was_measured():
    assert "AMI" not in metric_help(evaluation(4, 0.5), METRICS["nmi"])
    assert "AMI: held out .250" in metric_help(evaluation(0, 0.5, map=0.5, mrr=0.9, ami=0.25), METRICS["nmi"])


def test_what_an_epoch_visits_is_told_once_the_run_has_begun():
    coverage = {"batches": 35, "draws": 1120, "samples_visited": 1080, "samples": 1116, "classes_visited": 31}
    started = {"coverage": coverage | {"classes": 31}}
    assert epoch_words(started) == "An epoch visits 1,080 of 1,116 images and 31 of 31 classes, in 35 batches."
    assert "batches. Grey is repeated" in epoch_words(started | {"input": "Grey is repeated."})
    assert epoch_words({}) == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backbone": "small_conv", "head": {"kind": "none"}}, "through Small convolutional net, untrained"),
        ({"backbone": "efficientnet_lite0"}, "through EfficientNet-Lite0, pretrained, and a new head"),
        (
            {"backbone": {"key": "efficientnet_lite0", "params": {"pretrained": False}}, "head": {"kind": "linear"}},
            "through EfficientNet-Lite0, untrained, and a new head",
        ),
    ],
)
def test_a_pretrained_backbone_is_not_called_untrained(settings, words):
    assert way_words(RunSpec.read(settings)).replace("\\", "") == words


def test_two_figures_before_training_are_told_apart_and_one_is_not():
    first = evaluation(0, 0.256)
    assert before_words(first | {"backbone": {"map_at_r": 0.501}}) == (
        "MAP@R before training: .256 for the untrained embedding (step 0), .501 for the backbone's own features."
    )
    for alone in ({"map_at_r": 0.256}, {}, None):
        assert before_words(first | {"backbone": alone}) == ""
    assert before_words(None) == ""
