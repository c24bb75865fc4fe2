"""A run's model rebuilt from its checkpoint: the figures of its last look, and what cannot be asked."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import mlcore.analysis.evaluate_run as evaluate_run_module
from mlcore import data
from mlcore.analysis.evaluate_run import SHORT_NAMES, evaluate_run, last_checkpoint, pair_rows
from mlcore.commands.report import evaluation_in_words
from mlcore.data.table import ImageTable
from mlcore.engines.attempt_runner import run_folder
from mlcore.evaluation.metrics import METRICS, Family
from mlcore.runs.folder import Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec
from mlcore.training import prepare as prepare_module

SETTINGS = {
    "backbone": "mlp",
    "head": {"embedding_size": 8},
    "loss": {"key": "arcface", "params": {"scale": 16.0}},
    "sampler": {"key": "m_per_class", "batch_size": 20},
    "budget": {"steps": 8},
    "watch": {"evaluate_every": 4, "points": 100},
    "threads": 1,
}


def trained(root, **changes):
    run = Runs(root).create(RunSpec.read(SETTINGS | changes), state=RunState.DRAFT)
    assert run_folder(run) == 0
    return run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("again") / "runs"


@pytest.fixture(scope="module")
def run(root):
    return trained(root, dataset="digits")


@pytest.fixture(scope="module")
def glyphs(root):
    return trained(root, dataset="glyphs")


def looks(run):
    history = History(run)
    history.refresh()
    return history.evaluations


@pytest.mark.parametrize("side", ["held_out", "train"])
def test_figures_are_those_of_the_last_look_and_of_step_0(run, side):
    result = evaluate_run(run, side=side, untrained=True)
    first, last = looks(run)[0], looks(run)[-1]
    assert (result["step"], last["step"], first["step"]) == (8, 8, 0)
    for found, seen in ((result["figures"], last[side]), (result["untrained"], first[side])):
        assert list(found) == [
            *(metric.key for metric in METRICS.of(Family.RETRIEVAL, Family.CLUSTERS)),
            "queries",
            "lone_queries",
        ]
        shared = [name for name in found if name in seen]
        assert len(shared) == 13
        for name in shared:
            assert found[name] == pytest.approx(seen[name], abs=2e-3), name
    assert result["figures"] != result["untrained"]


def test_the_answer_is_plain_and_says_what_was_asked(run):
    result = evaluate_run(run, pca=3, per_class=True)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    asked = {"tester": SHORT_NAMES["global"], "reference": "self", "side": "held_out", "pca": 3, "untrained": None}
    assert {name: result[name] for name in asked} == asked
    assert result["run_id"] == run.run_id
    assert result["classes"] == 5
    assert result["images"] == result["figures"]["queries"]
    assert result["figures"]["map_at_r"] < evaluate_run(run)["figures"]["map_at_r"]


def test_classes_come_the_worst_first_and_average_to_the_whole(run):
    result = evaluate_run(run, per_class=True, untrained=True)
    classes = result["per_class"]
    scores = [one["figures"]["map_at_r"] for one in classes]
    assert scores == sorted(scores)
    assert len({one["class"] for one in classes}) == len(classes) == 5
    sizes = [one["images"] for one in classes]
    assert np.average(scores, weights=sizes) == pytest.approx(result["figures"]["map_at_r"])
    before = [one["untrained"]["map_at_r"] for one in classes]
    assert np.average(before, weights=sizes) == pytest.approx(result["untrained"]["map_at_r"])


def test_a_larger_gallery_has_more_to_confuse(run):
    alone, among_all = evaluate_run(run), evaluate_run(run, reference="sets_combined")
    assert among_all["figures"]["map_at_r"] < alone["figures"]["map_at_r"]
    own, training = (evaluate_run(run, side="train", reference=which) for which in ("self", "training"))
    assert own["figures"] == training["figures"]


def test_same_parent_tester_asks_only_among_relations(glyphs):
    whole, related = evaluate_run(glyphs), evaluate_run(glyphs, tester="same_parent", per_class=True)
    assert related["figures"]["queries"] == whole["figures"]["queries"] == whole["images"]
    assert related["figures"]["map_at_r"] > whole["figures"]["map_at_r"]
    assert len(related["per_class"]) == 31
    assert evaluate_run(glyphs, tester=SHORT_NAMES["same_parent"])["figures"] == related["figures"]


def test_two_streams_ask_the_first_half_of_each_class_among_the_second(glyphs):
    result = evaluate_run(glyphs, tester="two_streams", per_class=True)
    assert result["figures"]["queries"] == 31 * 18
    assert "searched the first half of each class among the second, global_two_stream" in evaluation_in_words(result)
    assert 0 < result["figures"]["map_at_r"] < 1


def test_halves_of_emoji_are_its_two_designers():
    table = data.load("emoji")
    pairs = pair_rows(table.labels, np.arange(len(table)))
    names = np.array(table.image_names)[pairs]
    assert pairs.shape == (780, 2)
    assert all(ours.replace("Noto", "Twemoji") == theirs for ours, theirs in names)


def test_images_without_a_partner_are_left_out_of_the_streams():
    labels = np.array([0, 1, 0, 0, 1, 2])
    assert pair_rows(labels, np.arange(6)).tolist() == [[0, 2], [1, 4]]
    with pytest.raises(ValueError, match="at least two images"):
        pair_rows(labels, np.array([5]))


def test_queries_of_an_official_split_are_searched_in_its_gallery_as_the_run_did(root, monkeypatch):
    table = data.load("digits")
    words = np.where(table.labels < 5, "train", np.where(np.arange(len(table)) % 3, "gallery", "query"))
    own = dataclasses.replace(table, splits=words)
    for module in (evaluate_run_module, prepare_module):
        monkeypatch.setattr(module, "load_table", lambda spec: own)
    run = trained(root, dataset={"key": "digits", "split": "official"})
    result = evaluate_run(run, reference="gallery")
    last = summary_of(run)
    assert result["figures"]["queries"] == result["images"] == (words == "query").sum()
    for name in ("recall_at_1", "map_at_r", "map"):
        assert result["figures"][name] == pytest.approx(last[name], abs=2e-3)


def summary_of(run):
    history = History(run)
    history.refresh()
    return history.evaluations[-1]["held_out"]


def test_split_by_sample_can_be_searched_in_the_training_set(root):
    run = trained(root, dataset={"key": "digits", "split": "sample"}, backbone={"key": "mlp", "freeze": "everything"})
    result = evaluate_run(run, reference="training")
    assert result["figures"]["lone_queries"] == 0
    assert result["figures"]["map_at_r"] > 0.2


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"tester": "globle"}, "Did you mean 'global'"),
        (
            {"reference": "everything"},
            "reference must be one of self, sets_combined, training, gallery; got 'everything'",
        ),
        ({"side": "test"}, "side must be one of held_out, train"),
        ({"pca": 9}, "between 1 and the embeddings' 8 dimensions; got 9"),
        ({"pca": 0}, "between 1 and"),
        ({"tester": "same_parent"}, "'digits' has none"),
        ({"tester": "two_streams", "reference": "training"}, "tested within a side"),
        ({"reference": "training"}, "held-out classes are not in the training set"),
        ({"reference": "gallery"}, "this run or side has none. Use reference self"),
    ],
)
def test_a_question_that_does_not_fit_is_refused(run, question, words):
    with pytest.raises(ValueError, match=words):
        evaluate_run(run, **question)


def test_a_run_without_a_checkpoint_says_so(runs):
    waiting = runs.create(RunSpec.read(SETTINGS | {"dataset": "digits"}))
    with pytest.raises(ValueError, match="has no checkpoint yet: it is queued at step 0 of 8"):
        evaluate_run(waiting)


def test_a_damaged_checkpoint_makes_room_for_the_one_before_it(runs):
    run = trained(runs.root, dataset="digits")
    whole = last_checkpoint(run)
    *_, before, last = run.attempts()[-1].checkpoints()
    (run.attempts()[-1].path / last["file"]).write_bytes(b"x")
    assert last_checkpoint(run) != whole
    assert evaluate_run(run)["step"] == before["step"] == 4


def test_other_images_are_refused(run, monkeypatch):
    table = data.load("digits")
    names = ("class_names", "image_names", "labels", "origin", "licence", "key", "title")
    other = ImageTable(pixels=255 - table.pixels, **{name: getattr(table, name) for name in names})
    monkeypatch.setattr("mlcore.training.prepare.load", lambda key, **params: other)
    with pytest.raises(ValueError, match=r"not those that .* was trained on"):
        evaluate_run(run)


def test_torch_is_left_as_it_was(run):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    evaluate_run(run)
    assert torch.equal(torch.rand(3), expected)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, strict)
