"""`python -m mlcore prepare`, from options to words and a table."""

import json

import numpy as np
import pandas as pd
import pytest

from mlcore.__main__ import main
from mlcore.data.prepare import Plan


@pytest.fixture
def index(tmp_path):
    count = 120
    generator = np.random.default_rng(0)
    path = tmp_path / "shoes" / "index.parquet"
    path.parent.mkdir()
    table = pd.DataFrame(
        {
            "row": range(count),
            "file": [f"{n}.png" for n in range(count)],
            "label": [f"class {n % 7}" for n in range(count - 1)] + ["lone"],
            "parent": None,
            "split": None,
            "fold": pd.array([None] * count, dtype="Int64"),
            "text": None,
            "width": [16 if n < 6 else 40 for n in range(count)],
            "height": 40,
            "mode": "RGB",
            "hash": [f"{int(number):016x}" for number in generator.integers(0, 2**63, size=count)],
        }
    )
    table.loc[50, "hash"] = table.loc[49, "hash"]
    table.to_parquet(path)
    return path


def told(capsys, *arguments):
    assert main(["prepare", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_without_out_it_says_what_it_would_do_and_writes_nothing(index, capsys):
    before = sorted(index.parent.iterdir())
    said = told(capsys, index.parent, "--min-side", 32, "--min-images", 2, "--split", "class:0.5", "--queries", 1)
    assert "120 images in 8 classes" in said
    assert "1. no side under 32 px: 6 of 120 images dropped; 114 images in 8 classes stay" in said
    assert "2. no class under 2 images: 1 of 114 images dropped, with them 1 of 8 classes" in said
    assert "3. split by class: train " in said
    assert "4. query and gallery: " in said
    assert "1 pairs (" in said
    assert "0 bits: 49.png (class 0) and 50.png (class 1)" in said
    assert "Nothing is written" in said
    assert sorted(index.parent.iterdir()) == before


def test_the_prepared_table_has_what_was_asked_for(index, capsys, tmp_path):
    out = tmp_path / "prepared.parquet"
    options = ["--duplicates", "drop", "--max-images", 10, "--split", "folds:5", "--split", "sample:0.2", "--out", out]
    assert f"Written: {out}" in told(capsys, index, *options)
    table = pd.read_parquet(out)
    assert table["label"].value_counts().max() == 10
    assert set(table["split"]) == {"train", "test"}
    assert set(table["fold"]) == {0, 1, 2, 3, 4}
    assert not {"49.png", "50.png"} <= set(table["file"])


def test_as_json_everything_is_there_and_the_plan_can_be_done_again(index, capsys, tmp_path):
    options = ["--min-side", 32, "--split", "counts:17-20", "--json"]
    first = json.loads(told(capsys, index, *options, "--out", tmp_path / "a.csv"))
    assert first["before"]["images"] == 120
    assert first["after"]["images"] == 114
    assert [step["step"] for step in first["steps"]] == ["sides", "split_counts"]
    assert first["duplicates"]["across_classes"] + first["duplicates"]["across_splits"] == 1
    plan = tmp_path / "plan.yaml"
    plan.write_text(Plan.read(first["plan"]).to_yaml())
    json.loads(told(capsys, index, "--plan", plan, "--json", "--out", tmp_path / "b.csv"))
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_several_sets_are_merged(index, capsys, tmp_path):
    pd.DataFrame({"file": ["x.png"], "label": ["lone"], "hash": ["0" * 16]}).to_csv(tmp_path / "boots.csv", index=False)
    said = told(capsys, index, tmp_path / "boots.csv")
    assert "2 sets merged; 1 class names occur in more than one and are joined" in said
    assert "121 images in 8 classes" in said
    assert "121 images in 9 classes" in told(capsys, index, tmp_path / "boots.csv", "--labels", "apart")


def test_table_without_hashes_is_prepared_and_told_so(capsys, tmp_path):
    (tmp_path / "plain.csv").write_text("file,label\na,x\nb,y\n")
    assert "not looked for: the table has no hashes" in told(capsys, tmp_path / "plain.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "clas:0.5"], "--split must be such as class:0.5"),
        (["--split", "class:much"], "--split must be such as"),
        (["--split", "official"], "step 1 (Official split): split: the official split must have a word for every row"),
        (["--min-images", "500"], "no image would be left"),
        (["--distance", "33"], "distance must be 0 to 16"),
        (["--plan", "absent.yaml"], "absent.yaml cannot be read"),
        (["--out", "prepared.xlsx"], ".parquet or .csv"),
        (["--save", "clean"], "must be an imported set to make another of it"),
        (["absent"], "There is no imported set 'absent'"),
        (["absent/index.parquet"], "there must be a table or a set"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_no_traceback(index, capsys, options, message):
    assert main(["prepare", str(index), *options]) == 2
    assert message in capsys.readouterr().err


def test_two_sets_of_one_name_are_refused(index, capsys):
    assert main(["prepare", str(index), str(index)]) == 2
    assert "two are called 'shoes'" in capsys.readouterr().err
