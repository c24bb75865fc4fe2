"""The calculator's figures are those of pytorch-metric-learning where that is right."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator as Theirs

from mlcore.evaluation.accuracy import AccuracyCalculator, names_elsewhere
from mlcore.evaluation.metrics import Family

THEIRS = [
    name
    for name, metric in names_elsewhere().items()
    if metric.family == Family.RETRIEVAL and not name.startswith("recall")
]
WRONG_WHERE_SHALLOW = ("r_precision", "mean_average_precision_at_r")  # as it says itself


def points(count: int = 90, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=source)
    centres = torch.randn(classes, 6, generator=source)
    return centres[labels] + torch.randn(count, 6, generator=source), labels


@pytest.mark.parametrize("k", [None, 5, "max_bin_count"])
@pytest.mark.parametrize("options", [{}, {"avg_of_avgs": True}, {"return_per_class": True}], ids=str)
@pytest.mark.parametrize("reference", ["none", "other", "includes"])
def test_figures_are_theirs(reference, options, k):
    rows, labels = points()
    others, other_labels = points(60, seed=1)
    asked = {
        "none": (rows, labels),
        "other": (rows, labels, others, other_labels),
        "includes": (rows, labels, torch.cat([rows, others]), torch.cat([labels, other_labels]), True),
    }[reference]
    names = [name for name in THEIRS if k != 5 or name not in WRONG_WHERE_SHALLOW]
    expected = Theirs(include=names, k=k, device=torch.device("cpu"), **options).get_accuracy(*asked)
    found = AccuracyCalculator(include=names, k=k, **options).get_accuracy(*asked)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_everything_is_computed_unless_asked_otherwise():
    rows, labels = points()
    calculator = AccuracyCalculator(exclude=["AMI"])
    assert list(calculator.get_accuracy(rows, labels)) == [name for name in names_elsewhere() if name != "AMI"]
    assert list(calculator.get_accuracy(rows.numpy(), labels.numpy(), include=["NMI", "AMI"])) == ["NMI"]


def test_queries_without_company_are_none_and_not_nan():
    rows, _ = points(4)
    assert AccuracyCalculator(include=["precision_at_1"]).get_accuracy(rows, torch.arange(4)) == {
        "precision_at_1": None
    }


def test_clusters_that_cannot_be_wrong_are_none():
    rows, _ = points(4)
    found = AccuracyCalculator(include=["NMI", "AMI"]).get_accuracy(rows, torch.zeros(4, dtype=torch.long))
    assert found == {"NMI": None, "AMI": None}


def test_class_numbers_beyond_float32_are_told_apart():
    rows = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    labels = torch.tensor([2**24, 2**24 + 1, 2**24, 2**24 + 1])
    assert AccuracyCalculator(include=["precision_at_1"]).get_accuracy(rows, labels) == {"precision_at_1": 0.0}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: AccuracyCalculator(include=["precision_at_2"]), "Did you mean 'precision_at_1'"),
        (lambda: AccuracyCalculator(k=0), "whole number from 1"),
        (lambda: AccuracyCalculator().get_accuracy(*points(), reference=points()[0]), "go together"),
    ],
)
def test_what_does_not_fit_is_said(act, words):
    with pytest.raises(ValueError, match=words):
        act()
