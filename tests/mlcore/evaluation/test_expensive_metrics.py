"""The slow figures are those of the modules that define them."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.evaluation import ami, rank
from mlcore.evaluation.expensive_metrics import slow_figures
from mlcore.evaluation.ranking import FIGURES


def test_figures_are_those_of_rank_and_ami():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 7
    rows = random.standard_normal((7, 5))[labels] + random.standard_normal((60, 5))
    found = slow_figures(rows, labels)
    expected = rank(rows, labels).mean()
    assert set(found) <= set(FIGURES)
    assert found == {"map": expected["map"], "mrr": expected["mrr"], "ami": ami(rows, labels)}
    assert slow_figures(rows, labels, most=59) == {"map": None, "mrr": None, "ami": found["ami"]}


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        slow_figures(np.zeros((0, 3)), np.zeros(0, int))
