"""Digits against scikit-learn's own reader."""

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mlcore.data import load
from mlcore.data.digits import digits_file


def test_digits_are_those_of_scikit_learn_spread_over_the_grey_values():
    theirs, table = load_digits(), load("digits")
    np.testing.assert_array_equal(table.labels, theirs.target)
    np.testing.assert_allclose(table.pixels[..., 0], theirs.images * 255 / 16, atol=0.5)


def test_missing_scikit_learn_is_a_sentence_with_the_cure(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install scikit-learn"):
        digits_file()
