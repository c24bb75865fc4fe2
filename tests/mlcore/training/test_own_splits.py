"""A split or folds that the data came with, as a run is held to them."""

import dataclasses

import numpy as np
import pytest

from mlcore.data import load
from mlcore.spec.run_spec import RunSpec
from mlcore.training import prepare as prepare_module
from mlcore.training.events import Evaluated
from mlcore.training.loop import Trainer
from mlcore.training.prepare import prepare

SMALL = {"dataset": "digits", "backbone": "mlp", "head": {"embedding_size": 4}, "budget": {"steps": 1}, "threads": 1}


@pytest.fixture
def digits(monkeypatch):
    """Digits below 5 to train on, the others to ask and to be searched, in four folds."""
    table = load("digits")
    rows = np.arange(len(table))
    words = np.where(table.labels < 5, "train", np.where(rows % 3 == 0, "query", "gallery"))
    own = dataclasses.replace(table, splits=words, folds=(rows % 4).astype(np.int64))
    monkeypatch.setattr(prepare_module, "load_table", lambda spec: own)
    return own


def trainer(**choice):
    spec = RunSpec.read(SMALL).changed({f"dataset.{name}": value for name, value in choice.items()})
    return Trainer(prepare(RunSpec.from_text(spec.to_yaml())))


def test_official_holds_out_queries_and_gallery_and_looks_from_one_into_the_other(digits):
    run = trainer(split="official")
    looks = [event for event in run.events() if isinstance(event, Evaluated)]
    assert run.prepared.split.train.tolist() == np.flatnonzero(digits.labels < 5).tolist()
    assert run.prepared.classes.tolist() == [0, 1, 2, 3, 4]
    assert looks[-1].held_out["queries"] == (digits.splits == "query").sum()
    assert looks[-1].train["queries"] == len(run.prepared.split.train)


def test_a_fold_is_held_out_and_every_class_trained_on(digits):
    run = trainer(split="fold", fold=2)
    assert run.prepared.split.held_out.tolist() == np.flatnonzero(digits.folds == 2).tolist()
    assert len(run.prepared.classes) == 10


@pytest.mark.parametrize(("choice", "words"), [({"split": "official"}, "has none"), ({"split": "fold"}, "no folds")])
def test_data_without_a_split_of_its_own_says_so(choice, words):
    with pytest.raises(ValueError, match=words):
        trainer(**choice)


@pytest.mark.parametrize("choice", [{"split": "colour"}, {"fold": -1}])
def test_a_choice_that_is_none_is_refused(choice):
    with pytest.raises(ValueError, match=r"dataset\."):
        trainer(**choice)
