"""Tables of files: columns, joins, and cells that were made to do harm."""

from __future__ import annotations

import csv
import unicodedata

import pandas as pd
import pytest
from image_files import image_bytes, snapshot, tree

from mlcore.data.sources import FileTable, ImageEntry, SkippedEntry, source_for


@pytest.fixture
def folder(tmp_path):
    return tree(tmp_path / "own", {f"{name}.png": image_bytes() for name in "abc"})


def written(folder, text, name="table.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def found(source):
    return [item for item in source.find() if isinstance(item, ImageEntry)]


def left(source):
    return [item for item in source.find() if isinstance(item, SkippedEntry)]


def test_file_and_label_are_enough(folder):
    key, source = source_for(written(folder, "file,label\na.png,cat\nb.png,dog\n"))
    assert key == "table"
    assert found(source) == [ImageEntry("a.png", "cat"), ImageEntry("b.png", "dog")]
    assert source.open("a.png") == image_bytes()


def test_every_column_is_read(folder):
    table = 'file,label,split,fold,parent,box,text\na.png,cat,Train,2,pet,"1,2,11,12",a cat sits\nb.png,dog,query,,,,\n'
    assert found(FileTable(written(folder, table))) == [
        ImageEntry("a.png", "cat", "pet", "train", 2, (1, 2, 11, 12), "a cat sits"),
        ImageEntry("b.png", "dog", split="query"),
    ]


def test_a_box_may_be_four_columns(folder):
    source = FileTable(written(folder, "file,label,left,top,right,bottom\na.png,cat,1,2.0,3,4\n"))
    assert found(source)[0].box == (1, 2, 3, 4)


@pytest.mark.parametrize(("word", "split"), [("VALIDATION", "val"), ("Training", "train"), ("gallery", "gallery")])
def test_splits_are_known_by_their_usual_words(folder, word, split):
    source = FileTable(written(folder, f"file,label,split\na.png,cat,{word}\n"))
    assert found(source)[0].split == split


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_spreadsheets_exports_are_read(folder, delimiter, encoding):
    text = "file,label\r\na.png,Größe\r\n".replace(",", delimiter)
    assert found(FileTable(written(folder, text, encoding=encoding))) == [ImageEntry("a.png", "Größe")]


def test_parquet_says_the_same_as_csv(folder):
    rows = {"file": ["a.png", "b.png"], "label": [3, 4], "fold": [1.0, None], "text": [None, "b"], "raw": [b"x", b"y"]}
    pd.DataFrame(rows).to_parquet(folder / "table.parquet")
    assert found(FileTable(folder / "table.parquet")) == [
        ImageEntry("a.png", "3", fold=1),
        ImageEntry("b.png", "4", text="b"),
    ]


def test_parquet_boxes_may_be_lists(folder):
    pd.DataFrame({"file": ["a.png"], "label": ["x"], "box": [[1, 2, 3, 4]]}).to_parquet(folder / "t.parquet")
    assert found(FileTable(folder / "t.parquet"))[0].box == (1, 2, 3, 4)


def test_a_second_table_brings_columns_by_file(folder):
    written(folder, "file,text\nb.png,beside\n", "more.csv")
    source = FileTable(written(folder, "file,label\na.png,cat\nb.png,dog\n"), more="more.csv")
    assert found(source) == [ImageEntry("a.png", "cat"), ImageEntry("b.png", "dog", text="beside")]


def test_the_label_may_stand_in_the_second_table(folder):
    written(folder, "file,label\na.png,cat\n", "labels.csv")
    source = FileTable(written(folder, "label,file\nx,c.png\n", "x.csv"), more="labels.csv")
    assert found(source) == [ImageEntry("c.png", "x"), ImageEntry("a.png", "cat")]
    joined = FileTable(
        written(folder, "file,split\na.png,test\n", "splits.csv").with_name("labels.csv"), more="splits.csv"
    )
    assert found(joined) == [ImageEntry("a.png", "cat", split="test")]


def test_columns_may_be_called_otherwise(folder):
    path = written(folder, "where,what\na.png,cat\n")
    with pytest.raises(ValueError, match="must have a column 'file'"):
        FileTable(path)
    assert found(FileTable(path, file_column="where", label_column="what")) == [ImageEntry("a.png", "cat")]


def test_usual_names_of_columns_are_known_and_told(folder):
    source = FileTable(written(folder, "Path,id,Category\na.png,7,cat\n"))
    assert found(source) == [ImageEntry("a.png", "cat")]
    assert ["'Path'" in reading.text or "'Category'" in reading.text for reading in source.describe()] == [True, True]
    assert FileTable(written(folder, "file,label\na.png,cat\n")).describe() == []


def test_images_may_lie_under_a_root(folder):
    path = written(folder.parent, "file,label\na.png,cat\n")
    source = FileTable(path, root="own")
    assert source.open("a.png") == image_bytes()


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("a.png,,,,", "no label"),
        (",cat,,,", "Its name"),
        ("b.txt,cat,,,", "Only"),
        ("c.png,cat,later,,", "split"),
        ("d.png,cat,,nan,", "fold"),
        ("g.png,cat,,inf,", "fold"),
        ('e.png,cat,,,"1,2,3"', "four numbers"),
        ('f.png,cat,,,"5,5,5,9"', "left < right"),
    ],
)
def test_rows_without_a_label_or_of_no_use_are_listed_with_their_number(folder, row, word):
    source = FileTable(written(folder, f"file,label,split,fold,box\nx.png,cat,,,\n{row}\n"))
    assert [item.file for item in found(source)] == ["x.png"]
    (item,) = left(source)
    assert "row 3" in item.reason
    assert word in item.reason


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd.png", "..\\secret.png", "C:\\x.png", "x\x00.png", "a/../../b.png"]
)
def test_names_that_lead_out_are_listed_and_not_opened(folder, name):
    tree(folder.parent, {"secret.png": image_bytes()})
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "label"], [name, "cat"], ["a.png", "cat"]])
    before = snapshot(folder.parent)
    source = FileTable(folder / "table.csv")
    assert [item.file for item in found(source)] == ["a.png"]
    assert "Its name" in left(source)[0].reason
    assert snapshot(folder.parent) == before


def test_links_beside_a_table_are_not_followed(folder):
    (folder / "link.png").symlink_to("/etc/passwd")
    source = FileTable(written(folder, "file,label\nlink.png,cat\n"))
    with pytest.raises(ValueError, match="link"):
        source.open("link.png")


def test_a_file_is_taken_once_but_for_other_boxes(folder):
    text = 'file,label,box\na.png,cat,\na.png,dog,\nA.PNG,cat,\na.png,cat,"0,0,5,5"\n./a.png,cat,\n'
    source = FileTable(written(folder, text))
    assert [item.box for item in found(source)] == [None, (0, 0, 5, 5)]
    assert len(left(source)) == 3
    assert "case" in left(source)[1].reason


def test_cells_that_a_spreadsheet_would_run_are_only_text(folder):
    text = 'file,label,text\na.png,"=HYPERLINK(""http://evil"")",<script>alert(1)</script>\n'
    assert found(FileTable(written(folder, text)))[0].label == '=HYPERLINK("http://evil")'


@pytest.mark.parametrize(
    "data",
    [
        b"file,label\na.png,\xff\xfe\n",
        b"file,label\na.png," + b"x" * 20_000 + b"\n",
        b'file,label\na.png,"never closed\n',
        b"",
        b"file,label,file\na.png,x,y\n",
        b"\x89PNG\r\n\x1a\n",
        ",".join(f"c{n}" for n in range(300)).encode(),
        "file,label\na.png,cat\n".encode("utf-16"),
    ],
    ids=["latin", "giant", "quote", "empty", "twice", "image", "wide", "utf-16"],
)
def test_what_is_no_table_is_refused_with_its_name(folder, data):
    (folder / "bad.csv").write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.csv"):
        list(FileTable(folder / "bad.csv").find())


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1", b"file,label\n"])
def test_what_is_no_parquet_is_refused_with_its_name(folder, data):
    (folder / "bad.parquet").write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.parquet"):
        FileTable(folder / "bad.parquet")


def test_a_damaged_parquet_is_refused(folder):
    path = folder / "t.parquet"
    pd.DataFrame({"file": [f"{n}.png" for n in range(2000)], "label": ["x"] * 2000}).to_parquet(path)
    data = bytearray(path.read_bytes())
    data[8:2000] = b"\xff" * 1992
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"t\.parquet"):
        list(FileTable(path).find())


def test_too_many_rows_are_refused(folder, monkeypatch):
    monkeypatch.setattr("mlcore.data.sources.table_rows.ROW_LIMIT", 2)
    with pytest.raises(ValueError, match="more than 2 rows"):
        list(FileTable(written(folder, "file,label\na.png,x\nb.png,x\nc.png,x\n")).find())


def test_the_limit_of_other_readers_is_left_as_it_was(folder):
    before = csv.field_size_limit()
    list(FileTable(written(folder, "file,label\na.png,x\n")).find())
    assert csv.field_size_limit() == before


def test_a_path_into_the_images_folder_is_taken_and_another_is_refused_with_the_cure(folder):
    names = [folder / "a.png", folder / "sub" / ".." / ".." / "secret.png", folder.parent / "own-secret" / "b.png"]
    source = FileTable(written(folder, "file,label\n" + "".join(f"{name},cat\n" for name in names)))
    assert [item.file for item in found(source)] == ["a.png"]
    assert source.open("a.png") == image_bytes()
    assert all("--option root=FOLDER" in item.reason for item in left(source)[1:])
    assert len(left(source)) == 2


def test_a_path_into_a_folder_that_is_reached_by_a_link_is_taken(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    table = written(folder, f"file,label\n{tmp_path / 'link' / 'a.png'},cat\n")
    assert [item.file for item in found(FileTable(table, root=str(tmp_path / "link")))] == ["a.png"]


@pytest.mark.parametrize("head", ["\n", "\n\n", ";;\n", ",\n", "\ufeff\n"])
def test_blank_lines_at_the_top_are_passed_over(folder, head):
    mark = ";" if ";" in head else ","
    source = FileTable(written(folder, head + "file,label\n\na.png,cat\n,dog\n".replace(",", mark)))
    assert found(source) == [ImageEntry("a.png", "cat")]
    assert f"row {head.count(chr(10)) + 4}" in left(source)[0].reason


def test_accents_may_be_written_in_two_ways_in_a_table_and_on_the_disk(folder):
    composed, decomposed = ("é.png", unicodedata.normalize("NFD", "é.png"))
    tree(folder, {f"ä/{decomposed}": image_bytes()})
    source = FileTable(
        written(folder, f"file,label\nä/{composed},café\na.png,{unicodedata.normalize('NFD', 'café')}\n")
    )
    assert {item.label for item in found(source)} == {"café"}
    assert all(source.open(item.file) and source.stamp(item.file) for item in found(source))


@pytest.mark.parametrize(("fold", "is_taken"), [("1.5", False), ("-2", False), ("-1", True), ("3.0", True)])
def test_a_fold_is_a_whole_number(folder, fold, is_taken):
    source = FileTable(written(folder, f"file,label,fold\na.png,cat,{fold}\n"))
    assert bool(found(source)) == is_taken
    assert is_taken or f"got '{fold}'" in left(source)[0].reason


def test_a_box_left_of_its_image_is_cut(folder):
    source = FileTable(written(folder, 'file,label,box\na.png,cat,"-5,-3,10,10"\nb.png,cat,"-5,-3,-1,10"\n'))
    assert [item.box for item in found(source)] == [(0, 0, 10, 10)]
    assert "left < right" in left(source)[0].reason


@pytest.mark.parametrize("column", ["file", "label", "split"])
def test_a_column_of_another_kind_is_refused_by_its_kind(folder, column):
    rows = {"file": ["a.png"], "label": ["x"], "split": ["train"], "when": [pd.Timestamp("2020-01-01")]}
    pd.DataFrame(rows | {column: [{"bytes": b"x"}]}).to_parquet(folder / "t.parquet")
    with pytest.raises(ValueError, match=rf"'{column}' must hold words or numbers; it holds struct<bytes: binary>"):
        FileTable(folder / "t.parquet")
