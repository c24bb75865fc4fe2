"""`python -m mlcore import`, `data`, and `train --dataset` with a path."""

from __future__ import annotations

import io
import json
import re
import shlex

import pytest
from image_files import classes, image_bytes, picture, tree

from mlcore.__main__ import main
from mlcore.commands import data
from mlcore.commands.data import UNANSWERED
from mlcore.data import importing
from mlcore.data.store import all_sets, data_root
from mlcore.data.unfinished_imports import list_unfinished
from mlcore.disk.process import take_lock
from mlcore.runs.folder import Runs


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LAB_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def own(tmp_path):
    return tree(classes(tmp_path / "own", 6, 8), {"c0/x.txt": b"x"})


def test_import_says_what_came_of_it(own, capsys):
    assert main(["import", str(own), "--title", "My photos", "--side", "16"]) == 0
    told = capsys.readouterr().out
    assert "My photos: 48 images in 6 classes, 16 px, RGB; 1 left out" in told
    assert "c0/x.txt" in told
    assert all_sets()[0].id in told


def test_import_as_json_is_one_record(own, capsys):
    assert main(["import", str(own), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["counts"] == {"images": 48, "classes": 6, "left_out": 1}
    assert record["left_out"][0]["file"] == "c0/x.txt"


def test_import_takes_a_level_and_a_sources_own_options(tmp_path, capsys):
    files = {f"{p}/{c}/1.png": image_bytes(picture(n)) for n, (p, c) in enumerate([("a", "x"), ("a", "y"), ("b", "z")])}
    own = tree(tmp_path / "own", files)
    assert main(["import", str(own), "--level", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["classes"] == 3
    table = tree(own, {"t.csv": b"path,kind\na/x/1.png,k\n"}) / "t.csv"
    options = ["--option", "file_column=path", "--option", "label_column=kind"]
    assert main(["import", str(table), *options]) == 0
    assert main(["import", str(table), "--level", "2", *options]) == 2
    assert "there is no 'level'" in capsys.readouterr().err


def test_import_of_nothing_is_one_sentence(tmp_path, capsys):
    assert main(["import", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith("mlcore: ")


def test_import_stopped_by_hand_says_how_to_go_on(own, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "add_outcome", stopped)
        assert main(["import", str(own)]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert main(["import", str(own)]) == 0


def test_data_lists_shows_renames_and_deletes(own, capsys):
    assert main(["data"]) == 0
    assert "No imported sets" in capsys.readouterr().out
    main(["import", str(own)])
    capsys.readouterr()
    assert main(["data", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert main(["data", "own", "--rename", "Shoes"]) == 0
    assert "Shoes: 48 images" in capsys.readouterr().out
    assert main(["data"]) == 0
    assert record["id"] in capsys.readouterr().out
    assert main(["data", "Shoes", "--delete"]) == 0
    assert all_sets() == []
    assert main(["data", "--delete"]) == 2


def stopped_import(*arguments):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "add_outcome", stopped)
        assert main(["import", *arguments]) == 130


def test_data_tells_of_unfinished_imports_and_how_to_go_on(own, capsys):
    stopped_import(str(own), "--side", "9", "--fit", "pad")
    capsys.readouterr()
    assert main(["data"]) == 0
    told = capsys.readouterr().out
    assert f"Unfinished: {own}, 0.0 MB\n" in told
    (line,) = [line for line in told.splitlines() if "To go on" in line]
    assert main(shlex.split(line.partition("python -m mlcore ")[2])) == 0
    assert all_sets()[0].options == {"side": 9, "fit": "pad", "asked_side": 9}
    assert not list_unfinished(data_root())
    capsys.readouterr()
    main(["data"])
    assert "Unfinished" not in capsys.readouterr().out


def test_a_sources_options_are_in_the_command_to_go_on(tmp_path, capsys):
    files = {f"p {n}/{c}/1.png": image_bytes(picture(n)) for n in range(2) for c in "xy"}
    own = tree(tmp_path / "my own", files)
    stopped_import(str(own), "--level", "2", "--title", "Mine")
    main(["data"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "To go on" in line]
    assert shlex.split(line)[-7:] == [
        *(str(own), "--source", "image_folder"),
        *("--option", "level=2", "--title", "Mine"),
    ]
    assert main(shlex.split(line.partition("python -m mlcore ")[2])) == 0
    assert not list_unfinished(data_root())


def test_clean_removes_what_nobody_is_at(own, tmp_path, capsys):
    stopped_import(str(own))
    other = tree(tmp_path / "other", {"c/1.png": image_bytes()})
    stopped_import(str(other))
    ours, theirs = list_unfinished(data_root())
    with take_lock(theirs.folder / "lock"):
        assert [begun.held for begun in list_unfinished(data_root())] == [False, True]
        capsys.readouterr()
        assert main(["data", "--clean"]) == 0
        told = capsys.readouterr().out
        assert str(ours.path) in told
        assert "MB are free again" in told
        assert [begun.folder for begun in list_unfinished(data_root())] == [theirs.folder]
        main(["data"])
        assert "goes on now" in capsys.readouterr().out
    assert main(["data", "--clean", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [begun["path"] for begun in record["removed"]] == [theirs.path]
    assert record["bytes"] == theirs.bytes
    assert main(["data", "--clean"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert main(["data", "own", "--clean"]) == 2


def train(dataset):
    settings = ["sampler.batch_size=8", "head.embedding_size=8", "watch.points=20"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    return main(["train", "--dataset", str(dataset), "--steps", "2", "--sampler", "m_per_class", "--json", *chosen])


def test_train_takes_a_path_an_id_and_a_title_and_imports_once(own, capsys, monkeypatch, tmp_path):
    assert train(own) == 0
    (facts,) = all_sets()
    monkeypatch.setattr(importing, "Decoders", None)
    for name in (own, facts.id, facts.id[-6:], "own"):
        assert train(name) == 0
    assert len(all_sets()) == 1
    choices = [run.spec.dataset for run in Runs(tmp_path / "runs").all()]
    assert {choice.key for choice in choices} == {facts.id}
    assert {choice.fingerprint for choice in choices} == {facts.fingerprint}


def test_train_refuses_what_is_neither(capsys):
    assert train("glyph") == 2
    assert "Did you mean 'glyphs'" in capsys.readouterr().err
    assert train("./nothing") == 2
    assert "that is there" in capsys.readouterr().err


def test_a_bar_counts_the_images(own, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(importing, "TELL_EVERY_S", 0.0)
    data.import_with_bar(own)
    assert "49/49" in capsys.readouterr().err


@pytest.fixture
def many(own, monkeypatch):
    """A folder that counts as one of very many images."""
    monkeypatch.setattr(importing, "MANY", 10)
    monkeypatch.setattr(importing, "MEASURED_S", 0.0)
    return own


def test_very_many_images_are_imported_only_if_somebody_says_so(many, capsys):
    assert main(["import", str(many)]) == UNANSWERED
    said = capsys.readouterr().err
    assert re.search(r"\d+ images are still to be read: about a minute, and 0.0 GB on the disk", said)
    assert "add --yes" in said
    assert all_sets() == []
    assert main(["import", str(many), "--json", "--progress"]) == UNANSWERED
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "question" in line]
    assert line["question"].endswith("Is that what you mean?")
    assert train(many) == 2
    assert f"python -m mlcore import {many} --yes" in capsys.readouterr().err
    assert main(["import", str(many), "--yes"]) == 0
    (facts,) = all_sets()
    assert facts.counts["images"] == 49 - facts.counts["left_out"]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 2), ("", 2)])
def test_on_a_terminal_it_is_asked(many, capsys, monkeypatch, answer, code):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    assert main(["import", str(many)]) == code
    said = capsys.readouterr().err
    assert said.count("Import them all? [y/N]") == 1
    assert ("not imported" in said) == (code == 2)
    assert len(all_sets()) == (code == 0)
    assert len(list_unfinished(data_root())) == (code == 2)


def test_a_look_says_that_no_image_was_opened(tmp_path, capsys):
    folder = tree(tmp_path / "own", {"a/good.png": image_bytes(), "a/broken.jpg": b"no image"})
    assert main(["import", str(folder), "--look"]) == 0
    said = capsys.readouterr().out
    assert "2 images in 1 classes" in said
    assert "none was opened" in said
