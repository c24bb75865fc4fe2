"""The table at the door: what is filled in, what is refused, and that writing and reading keeps every word."""

import pandas as pd
import pytest

from mlcore.data.prepare import complete_index, read_index, write_index

WORDS = ["=1+1", "'=1", "'tis", "-", "@you", "NA", "", "007", 'a "b", c', "\tx", "ä/ö", "'"]


def rows(**columns):
    return pd.DataFrame({"file": ["a.png", "b.png", "c.png"], "label": ["x", "x", "y"]} | columns)


def test_what_a_table_lacks_is_filled_in():
    index = complete_index(rows(split=["train", None, "test"], fold=[0, None, 2]))
    assert index["split"].tolist() == ["train", "", "test"]
    assert index["fold"].tolist() == [0, -1, 2]
    assert index["row"].tolist() == [0, 1, 2]
    assert index["width"].tolist() == [0, 0, 0]
    assert index["hash"].tolist() == ["", "", ""]


def test_the_table_passed_in_is_not_changed():
    table = rows()
    index = complete_index(table)
    index.loc[:, "label"] = "z"
    assert list(table.columns) == ["file", "label"]
    assert table["label"].tolist() == ["x", "x", "y"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows().drop(columns="label"), "must be a column 'label'; got file"),
        (rows(label=["x", None, ""]), "every row needs a label; 2 have none, the first is row 1"),
        (rows(file=["a", "b", ""]), "every row needs a file"),
        (rows(fold=["0", "one", "2"]), "row 1: fold must be a whole number; got 'one'"),
        (rows(width=[1.0, 2.5, 3.0]), "row 1: width must be a whole number"),
        (rows(row=[0, None, 2]), "every row needs one"),
    ],
)
def test_table_that_cannot_be_an_index_is_refused(table, message):
    with pytest.raises(ValueError, match=f"toy.*{message}"):
        complete_index(table, "toy")


@pytest.mark.parametrize("name", ["prepared.csv", "prepared.parquet"])
def test_written_and_read_again_every_word_is_the_same(tmp_path, name):
    index = complete_index(
        pd.DataFrame({"file": [f"{n}.png" for n in range(len(WORDS))], "label": [f"{word} " for word in WORDS]})
    )
    index["parent"], index["fold"], index["width"] = WORDS, range(-1, len(WORDS) - 1), 7
    again = read_index(write_index(index, tmp_path / name))
    for column in ("file", "label", "parent", "fold", "width", "row"):
        assert again[column].tolist() == index[column].tolist()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_cell_of_a_csv_starts_a_formula(tmp_path):
    index = complete_index(pd.DataFrame({"file": WORDS[:2], "label": ["=cmd", "+1"], "split": ["@a", "-b"]}))
    cells = pd.read_csv(write_index(index, tmp_path / "prepared.csv"), dtype=str, keep_default_na=False)
    assert not [cell for cell in cells.to_numpy().ravel() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_parquet_has_the_promised_columns_and_no_fold_is_nothing(tmp_path):
    table = pd.read_parquet(write_index(complete_index(rows()), tmp_path / "prepared.parquet"))
    assert list(table.columns[:8]) == ["file", "label", "parent", "width", "height", "hash", "split", "fold"]
    assert table["fold"].isna().all()


def test_a_sets_folder_is_its_index(tmp_path):
    rows().to_parquet(tmp_path / "index.parquet")
    assert len(read_index(tmp_path)) == 3


def test_file_that_is_no_table_is_refused_with_its_name(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "latin.csv").write_bytes(b"file,label\na.png,\xe4\n")
    for name in ("broken.parquet", "latin.csv"):
        with pytest.raises(ValueError, match=f"{name}: it cannot be read as a table"):
            read_index(tmp_path / name)
    with pytest.raises(ValueError, match="there must be a table"):
        read_index(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match=r"\.parquet or \.csv; got '\.xlsx'"):
        write_index(complete_index(rows()), tmp_path / "prepared.xlsx")
