"""Typed words against a run's pictures: found from its folder alone, at step 0 and now."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mlcore.analysis.word_search as search_room
from mlcore import __main__ as cli
from mlcore.analysis.evaluate_run import evaluate_run
from mlcore.analysis.word_search import WordSearch, search_words
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.folder import Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec
from mlcore.training.prepare import prepare

SETTINGS = {
    "dataset": {"key": "digits", "split": "sample"},
    "backbone": "mlp",
    "head": {"embedding_size": 16},
    "loss": "clip",
    "method": {"key": "image_text", "params": {"texts": "class names"}},
    "budget": {"steps": 60},
    "watch": {"evaluate_every": 30, "points": 100},
    "threads": 1,
    "seed": 5,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("words") / "runs"


def trained(root, **changes):
    run = Runs(root).create(RunSpec.read(SETTINGS | changes), state=RunState.DRAFT)
    assert run_folder(run) == 0
    return run


@pytest.fixture(scope="module")
def run(root):
    return trained(root, name="words")


def test_a_typed_class_finds_its_images(run):
    search = WordSearch(run)
    name = search.names["class_names"][3]
    hits = search.find(name, count=5)
    assert [hit["class_name"] for hit in hits].count(name) >= 4
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)
    assert all(hit["text"] == hit["class_name"] for hit in hits)
    assert all(int(search.sample["ids"][hit["place"]]) == hit["row"] for hit in hits)


def test_sides_are_those_of_the_split(run):
    search = WordSearch(run)
    held = {
        side: {bool(search.sample["held_out"][hit["place"]]) for hit in search.find("3", count=200, side=side)}
        for side in search_room.SIDES
    }
    assert held == {"held_out": {True}, "train": {False}, "all": {True, False}}


def test_similarities_are_cosines_of_the_newest_picture_with_the_trained_tower(run):
    search = WordSearch(run)
    assert (search.now.step, search.now.text_step, search.before.step) == (60, 60, 0)
    past = History(run)
    past.refresh()
    attempt, entry = past.snapshots[60]
    images = attempt.read_arrays(entry)["embeddings"].astype(np.float64)
    prepared, _ = rebuild_whole(run)
    text = prepared.method.tower(prepared.method.tower.prepare(["three"])).detach().numpy()[0]
    expected = images @ text / np.linalg.norm(images, axis=1) / np.linalg.norm(text)
    hits = search.find("three", count=100, side="all")
    np.testing.assert_allclose([hit["similarity"] for hit in hits], expected[[hit["place"] for hit in hits]], atol=1e-4)


def rebuild_whole(run):
    """The whole run rebuilt from the newest checkpoint, as `again` does it."""
    from mlcore.analysis.evaluate_run import last_checkpoint, rebuild_run, torch_as_it_was

    with torch_as_it_was():
        return rebuild_run(run, last_checkpoint(run))


def test_before_training_the_tower_is_the_one_that_training_began_with(run):
    prepared = prepare(run.spec)
    own, began = WordSearch(run).before.tower.state_dict(), prepared.method.tower.state_dict()
    assert all((own[name] == began[name]).all() for name in own)


def test_words_of_no_training_text_are_told(run):
    search = WordSearch(run)
    known = search.texts.names[0]
    assert search.find_unknown_words(f"{known} unicorn Unicorn") == ["unicorn"]


def test_without_its_data_it_still_finds_by_class_names(run, monkeypatch):
    def gone(*_, **__):
        raise ValueError("gone")

    monkeypatch.setattr(search_room, "load", gone)
    search = WordSearch(run)
    assert len(search.find("3")) == 12
    assert search.find("3")[0]["text"] == ""
    assert search.find_unknown_words("unicorn") == []


def test_what_cannot_be_asked_is_a_sentence(run, root):
    search = WordSearch(run)
    for words, how, said in (
        ("  ", {}, "Type a word or more"),
        ("x" * 1001, {}, "at most 1000 characters; got 1001"),
        ("x", {"side": "left"}, "side must be one of held_out, train, all; got 'left'"),
        ("x", {"count": 0}, "count must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            search.find(words, **how)
    other = Runs(root).create(RunSpec.read({"dataset": "digits"}))
    with pytest.raises(ValueError, match="was not trained on texts"):
        WordSearch(other)
    waiting = Runs(root).create(run.spec.changed({"name": "waiting"}))
    with pytest.raises(ValueError, match="has no picture of its images yet"):
        WordSearch(waiting)


def test_a_run_that_was_never_trained_has_only_before(root):
    preview = trained(root, budget={"steps": 0})
    search = WordSearch(preview)
    assert search.now is None
    assert len(search.find("3", moment=search.before)) == 12
    with pytest.raises(ValueError, match="no checkpoint yet"):
        search.find("3")


def test_the_model_can_be_evaluated_again(run):
    assert evaluate_run(run)["figures"]["map_at_r"] > 0.3


def test_on_the_command_line(run, root, capsys):
    assert cli.main(["find", "words", "3", "--count", "2", "--runs", str(root)]) == 0
    said = capsys.readouterr().out
    assert "words: '3' at step 60, among the held-out images that are watched" in said
    assert len(said.splitlines()) == 4
    assert cli.main(["find", "words", "big", "unicorn", "--json", "--untrained", "--runs", str(root)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["words"], result["step"], len(result["found"])) == ("big unicorn", 0, 10)
    assert result["unheard"] == ["big", "unicorn"]
    assert set(result["found"][0]) == {"row", "place", "similarity", "class_name", "image_name", "text"}
    assert cli.main(["find", "words", " ", "--runs", str(root)]) == 2
    assert search_words(run, "3")["step"] == 60


def test_the_end_of_a_run_tells_how_texts_find_images(root, capsys):
    settings = [
        f"--set={name}={value}" for name, value in (("method.texts", "class names"), ("head.embedding_size", 8))
    ]
    asked = ["--dataset", "digits", "--backbone", "mlp", "--loss", "siglip", "--method", "image_text", "--steps", "3"]
    assert cli.main(["train", *asked, *settings, "--runs", str(root)]) == 0
    assert "text_to_image_recall_at_5  held out" in capsys.readouterr().out
