"""The script that makes the table of gains: the commands it gives and what it says of parts that do not gain."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlcore.catalogue import registry

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "loss_gain.py"


@pytest.fixture(scope="module")
def loss_gain():
    spec = importlib.util.spec_from_file_location("loss_gain", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(**changes):
    usual = {
        "section": "loss",
        "room": None,
        "only": None,
        "dataset": "glyphs",
        "steps": 7,
        "seed": 0,
        "jobs": 1,
        "set": [],
    }
    return argparse.Namespace(**usual | changes)


def test_every_part_of_a_section_is_trained_by_the_command_line(loss_gain):
    command = loss_gain.command(registry("losses")["supcon"], options(set=["seed=4"]), Path("here"))
    assert command[1:6] == ["-m", "mlcore", "train", "--json", "--runs"]
    assert command[command.index("--loss") + 1] == "supcon"
    assert command[-2:] == ["--set", "seed=4"]


def test_other_sections_get_a_loss_that_takes_pairs_unless_one_is_named(loss_gain):
    miner = registry("miners")["multi_similarity"]
    assert "loss=triplet_margin" in loss_gain.command(miner, options(section="miner"), Path("here"))
    command = loss_gain.command(miner, options(section="miner", set=["loss=contrastive"]), Path("here"))
    assert "loss=triplet_margin" not in command


def test_a_part_of_a_part_is_a_setting_and_its_room_is_known_or_named(loss_gain):
    distances = options(section="loss.distance", set=["loss=contrastive"])
    assert [spec.key for spec in loss_gain.chosen_parts(distances)] == list(registry("distances"))
    assert "loss.distance=snr" in loss_gain.command(registry("distances")["snr"], distances, Path("here"))
    named = options(section="loss.embedding_regularizer", room="regularizers", only=["lp"])
    assert [spec.key for spec in loss_gain.chosen_parts(named)] == ["lp"]
    with pytest.raises(ValueError, match="There is no room 'nothings'"):
        loss_gain.chosen_parts(options(section="nothing"))


def test_what_to_expect_is_taken_from_the_docstring(loss_gain):
    text = "Does it.\n\nWhat to expect: An addition, no\nmore. Alone it does nothing. A third.\n\nShapes: any."
    assert loss_gain.expectation(text) == "An addition, no more. Alone it does nothing."
    assert loss_gain.expectation("Does it.") == "its docstring does not say"


def test_rows_come_as_a_table_and_as_json(tmp_path):
    told = tmp_path / "rows.json"
    usual = ["--dataset", "digits", "--steps", "3", "--set", "backbone=mlp", "--json", str(told)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--only", "arcface", "fixed_adacos", *usual], capture_output=True, text=True
    )
    rows = json.loads(told.read_text())["rows"]
    assert done.returncode == 0, done.stderr
    assert [row["key"] for row in rows] == ["arcface", "fixed_adacos"]
    assert all(row["lift"] == row["after"] - row["before"] for row in rows)
    assert f"| {rows[0]['before']:.3f} | {rows[0]['after']:.3f} |" in done.stdout


def test_a_part_that_cannot_be_trained_says_why(loss_gain, tmp_path):
    row = loss_gain.tried(registry("losses")["arcface"], options(set=["loss.margin=9"]), tmp_path)
    assert row["lift"] is None
    assert row["why_not"].startswith("failed: ")
    assert "margin must be" in row["why_not"]
    assert "| - | - | - |" in loss_gain.line_of(row)
