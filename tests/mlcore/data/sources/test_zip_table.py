"""A table and its images in one zip, or a table beside the zip of its images."""

from __future__ import annotations

import unicodedata

import pandas as pd
import pytest
from image_files import archive, image_bytes

from mlcore.data.sources import FileTable, ImageEntry, SkippedEntry, source_for
from mlcore.data.sources.zip_table import ZipTable

TABLE = b"file,label,split\na.png,cat,train\nb.png,dog,test\n"


def found(source):
    return [(item.file, item.label, item.split) for item in source.find() if isinstance(item, ImageEntry)]


def left(source):
    return {item.file: item.reason for item in source.find() if isinstance(item, SkippedEntry)}


@pytest.mark.parametrize("below", ["", "set/", "a/b/"])
def test_a_table_in_the_zip_names_the_classes(tmp_path, below):
    files = {f"{below}labels.csv": TABLE, f"{below}a.png": image_bytes(), f"{below}b.png": image_bytes()}
    key, source = source_for(archive(tmp_path / "own.zip", files))
    assert key == "zip_table"
    assert found(source) == [(f"{below}a.png", "cat", "train"), (f"{below}b.png", "dog", "test")]
    assert source.open(f"{below}a.png") == image_bytes()
    assert source.describe()[0].otherwise.startswith("--source zip")


def test_names_count_from_the_archive_or_are_the_only_ones_that_end_so_and_it_is_told(tmp_path):
    table = b"file,label\nimg/a.png,cat\nb.png,dog\nc.png,dog\n"
    files = dict.fromkeys(("img/a.png", "img/b.png", "img/c.png", "other/c.png"), image_bytes())
    source = ZipTable(archive(tmp_path / "own.zip", files | {"meta/labels.csv": table}))
    assert found(source) == [("img/a.png", "cat", None), ("img/b.png", "dog", None), ("c.png", "dog", None)]
    with pytest.raises(ValueError, match="no such file"):
        source.open("c.png")
    assert any("'b.png' is 'img/b.png'" in reading.text for reading in source.describe())


def test_images_that_the_table_does_not_name_are_listed(tmp_path):
    files = {"labels.csv": TABLE, "a.png": image_bytes(), "b.png": image_bytes(), "x/c.png": image_bytes()}
    assert left(ZipTable(archive(tmp_path / "own.zip", files))) == {"x/c.png": "The table does not name it."}


def test_a_parquet_table_is_read_out_of_the_zip(tmp_path):
    pd.DataFrame({"image": ["a.png"], "class": [3]}).to_parquet(tmp_path / "t.parquet")
    files = {"t.parquet": (tmp_path / "t.parquet").read_bytes(), "a.png": image_bytes()}
    assert found(source_for(archive(tmp_path / "own.zip", files))[1]) == [("a.png", "3", None)]


@pytest.mark.parametrize(
    "tables",
    [{"readme.csv": b"what,why\n1,2\n"}, {"a.csv": TABLE, "b.csv": TABLE}, {"x.csv": b"\xff\xfe"}],
    ids=["other", "two", "broken"],
)
def test_without_one_usable_table_folders_are_the_classes(tmp_path, tables):
    files = {"cat/a.png": image_bytes(), "dog/b.png": image_bytes(), **tables}
    key, source = source_for(archive(tmp_path / "own.zip", files))
    assert key == "zip"
    assert [label for _, label, _ in found(source)] == ["cat", "dog"]
    assert set(tables) <= set(left(source))


def test_the_table_can_be_named(tmp_path):
    files = {"a.csv": TABLE, "b.csv": b"file,label\na.png,bird\n", "a.png": image_bytes()}
    path = archive(tmp_path / "own.zip", files)
    assert found(ZipTable(path, table="b.csv")) == [("a.png", "bird", None)]
    with pytest.raises(ValueError, match=r"its tables: a.csv, b.csv"):
        ZipTable(path)


def test_a_table_beside_the_zip_of_its_images(tmp_path):
    archive(tmp_path / "images.zip", {"deep/a.png": image_bytes(), "b.png": image_bytes()})
    (tmp_path / "t.csv").write_bytes(TABLE)
    source = FileTable(tmp_path / "t.csv", root="images.zip")
    assert found(source) == [("deep/a.png", "cat", "train"), ("b.png", "dog", "test")]
    assert source.open("deep/a.png") == image_bytes()


def test_accents_in_the_table_and_in_the_zip_may_be_written_in_two_ways(tmp_path):
    name = "é.png"
    files = {"t.csv": f"file,label\n{name},café\n".encode(), unicodedata.normalize("NFD", name): image_bytes()}
    source = ZipTable(archive(tmp_path / "own.zip", files))
    (item,) = source.find()
    assert source.open(item.file) == image_bytes()
    assert item.label == "café"
