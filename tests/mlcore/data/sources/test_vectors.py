"""Feature vectors from NPZ and Parquet, whole and hostile."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mlcore.data.importing import import_path
from mlcore.data.prepare.build_set import derive_set
from mlcore.data.sources import FeatureVectors, FileTable, ImageEntry, SkippedEntry, source_for
from mlcore.data.sources import vector_table as module
from mlcore.data.store import find_set, open_set, read_facts, read_index, read_left_out

LABELS = np.array(["cat", "dog", "dog", "cat", "emu", "emu"])


def matrix(rows=6, columns=5, kind="f4"):
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(kind)


@pytest.fixture
def npz(tmp_path):
    def saved(**arrays):
        path = tmp_path / "made.npz"
        np.savez(path, **{"vectors": matrix(), "labels": LABELS, **arrays})
        return path

    return saved


@pytest.fixture
def parquet(tmp_path):
    def saved(columns, schema=None):
        path = tmp_path / "made.parquet"
        pq.write_table(pa.table(columns, schema=schema), path)
        return path

    return saved


def found(path, **knobs):
    source = FeatureVectors(path, **knobs)
    return source, list(source.find())


def taken(items):
    return [item for item in items if isinstance(item, ImageEntry)]


def test_an_archive_is_read_as_it_is(npz):
    key, source = source_for(npz())
    assert key == "vectors"
    items = list(source.find())
    assert items[1] == ImageEntry("vector 1", "dog")
    np.testing.assert_array_equal(np.concatenate(list(source.vectors_of([item.file for item in items]))), matrix())


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8", ">f8", "i1", "<i2", ">i4", "<i8", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_any_size_and_order_become_float32(npz, kind, order):
    rows = np.asarray((10 * matrix()).astype(kind), order=order)
    source, _ = found(npz(vectors=rows))
    assert source.table.vectors.dtype == np.float32
    np.testing.assert_allclose(source.table.vectors, rows.astype("f8"), rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([3, 4, 4, 3, 7, 7]), ["3", "4", "4", "3", "7", "7"]),
        (np.array([3.0, 4, 4, 3, np.nan, 7]), ["3", "4", "4", "3", "7"]),
        (LABELS.astype("S"), LABELS.tolist()),
        (np.array([True, False] * 3), ["True", "False"] * 3),
    ],
)
def test_labels_may_be_words_or_whole_numbers(npz, labels, expected):
    assert [item.label for item in taken(found(npz(labels=labels))[1])] == expected


def test_names_splits_folds_and_parents_come_along(npz):
    extras = {
        "names": np.array(["a.png", "b/c.png", "a.png", "../x", "", "ü"]),
        "splits": np.array(["train", "Test", "", "val", "query", "gallery"]),
        "folds": np.array([0, 1, -1, 0, 1, 2]),
        "parents": np.array(["pet"] * 4 + ["bird"] * 2),
    }
    _, items = found(npz(**extras))
    assert [item.file for item in items] == ["a.png (row 0)", "b/c.png", "a.png (row 2)", "vector 3", "vector 4", "ü"]
    assert [item.split for item in items] == ["train", "test", None, "val", "query", "gallery"]
    assert [item.fold for item in items] == [0, 1, None, 0, 1, 2]
    assert items[0].parent == "pet"


def test_rows_that_cannot_be_used_are_left_out_with_their_reason(npz):
    rows = matrix(kind="f8")
    rows[1, 2], rows[3, 0], rows[4, 0] = np.nan, np.inf, 1e300  # the last is too large for float32
    _, items = found(npz(vectors=rows, labels=np.array(["a", "a", "", "b", "b", "b"])))
    reasons = {item.file: item.reason for item in items if isinstance(item, SkippedEntry)}
    assert set(reasons) == {"vector 1", "vector 2", "vector 3", "vector 4"}
    assert "not finite" in reasons["vector 4"]
    assert "no label" in reasons["vector 2"]


def test_a_split_or_fold_that_is_not_known_leaves_its_row_out(npz):
    splits = np.array(["train", "later", "train", "test", "test", "test"])
    _, items = found(npz(splits=splits))
    assert "'later'" in items[1].reason
    _, items = found(npz(folds=np.array(["0", "1", "x", "0", "0", "0"])))
    assert "whole number" in items[2].reason


def test_arrays_are_known_by_other_names_and_can_be_named(tmp_path):
    np.savez(tmp_path / "a.npz", X=matrix(), y=LABELS)
    assert len(taken(found(tmp_path / "a.npz")[1])) == 6
    np.savez(tmp_path / "b.npz", deep=matrix(), kind=LABELS, labels=LABELS[::-1])
    _, items = found(tmp_path / "b.npz", vectors="deep", labels="kind")
    assert [item.label for item in items] == LABELS.tolist()
    with pytest.raises(ValueError, match=r"must have vectors.*deep, kind, labels.*--option vectors="):
        FeatureVectors(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="Did you mean 'deep'"):
        FeatureVectors(tmp_path / "b.npz", vectors="deeps")


def test_a_picture_shows_the_standardised_vector(npz):
    source, _ = found(npz())
    picture = np.asarray(Image.open(io.BytesIO(source.open("vector 2"))))
    assert picture.shape == (8, 8)
    rows = matrix()
    shown = np.clip(128 + 48 * (rows[2] - rows.mean(0)) / rows.std(0), 0, 255)
    np.testing.assert_allclose(picture.ravel()[:5], shown, atol=1.01)
    assert (picture.ravel()[5:] == 128).all()
    with pytest.raises(ValueError, match="no such vector"):
        source.open("../vector 2")


@pytest.mark.parametrize(("columns", "side"), [(1, 8), (64, 8), (65, 9), (256, 16), (1000, 16)])
def test_a_picture_has_room_for_the_vector_up_to_256_numbers(npz, columns, side):
    source, _ = found(npz(vectors=matrix(columns=columns)))
    assert Image.open(io.BytesIO(source.open("vector 0"))).size == (side, side)


def npy(array, **header):
    """The bytes of an array's file, with a header that may lie."""
    file = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, facts | header)
    return file.getvalue() + array.tobytes()


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


GOOD = [("vectors.npy", npy(matrix())), ("labels.npy", npy(LABELS))]
HOSTILE = {
    "a shape of 1e12 rows": (npy(matrix(), shape=(10**12, 5)), "at most"),
    "a shape of more numbers than there is": (npy(matrix(), shape=(1_000_000, 1000)), "not what is in the archive"),
    "a shape below nothing": (npy(matrix(), shape=(-6, -5)), "dimension|no array"),
    "no columns": (npy(matrix(), shape=(6, 0)), "at most"),
    "structured numbers": (npy(np.zeros(6, [("a", "f4"), ("b", "i8")])), "must hold numbers"),
    "pickled objects": (npy(np.zeros((6, 5)), descr="|O"), "must hold numbers"),
    "complex numbers": (npy(matrix(kind="c8")), "must hold numbers"),
    "long doubles": (npy(matrix(kind=np.longdouble)), "must hold numbers"),
    "times": (npy(matrix(kind="i8").astype("M8[s]")), "must hold numbers"),
    "words": (npy(np.full((6, 5), "a")), "must hold numbers"),
    "one dimension": (npy(matrix().ravel()), "dimension"),
    "three dimensions": (npy(matrix(columns=4).reshape(6, 2, 2)), "dimension"),
    "cut off": (npy(matrix())[:-3], "not what is in the archive|cut off"),
    "longer than it says": (npy(matrix()) + b"more", "longer"),
    "no header": (b"not an array at all", "no array"),
    "a header that is code": (b"\x93NUMPY\x01\x00\x10\x00__import__('os')", "no array"),
    "a header without end": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{", "no array"),
    "another version": (b"\x93NUMPY\x09\x00\x10\x00{}              ", "no array"),
    "empty": (b"", "no array"),
}


@pytest.mark.parametrize(("data", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_arrays_are_refused_before_they_are_read(tmp_path, data, said):
    path = zipped(tmp_path / "bad.npz", [("vectors.npy", data), GOOD[1]])
    with pytest.raises(ValueError, match=said):
        FeatureVectors(path)


def test_pickled_labels_are_refused_with_the_cure_and_never_run(tmp_path):
    class Gadget:
        def __reduce__(self):
            return (open, (str(tmp_path / "mark"), "w"))

    np.savez(tmp_path / "bad.npz", vectors=matrix(), labels=np.array([Gadget()] * 6, dtype=object))
    with pytest.raises(ValueError, match=r"\.astype\(str\)"):
        FeatureVectors(tmp_path / "bad.npz")
    assert not (tmp_path / "mark").exists()


def test_labels_of_another_length_or_with_fractions_are_refused(npz):
    with pytest.raises(ValueError, match="one for each of 6 vectors; has 5"):
        FeatureVectors(npz(labels=LABELS[:5]))
    with pytest.raises(ValueError, match="fractions"):
        FeatureVectors(npz(labels=np.linspace(0, 1, 6)))
    with pytest.raises(ValueError, match="UTF-8"):
        FeatureVectors(npz(labels=np.array([b"\xff"] * 6)))
    with pytest.raises(ValueError, match="at least one vector"):
        FeatureVectors(npz(vectors=matrix(0), labels=LABELS[:0]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_named_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'vectors' twice"):
        FeatureVectors(zipped(tmp_path / "bad.npz", [*GOOD, GOOD[0]]))


def test_a_bomb_is_refused_by_its_ratio(tmp_path):
    bomb = npy(np.zeros((40_000, 100), "f4"))
    path = zipped(tmp_path / "bomb.npz", [("vectors.npy", bomb), ("labels.npy", npy(np.zeros(40_000, int)))], 8)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="not what is in the archive"):
        FeatureVectors(path)


def test_damage_inside_an_archive_is_a_sentence(tmp_path):
    path = zipped(tmp_path / "bad.npz", GOOD)
    data = bytearray(path.read_bytes())
    place = data.index(matrix().tobytes()) + 10
    data[place] ^= 1  # the archive's checksum no longer fits
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        FeatureVectors(path)
    for size in (10, 200, len(data) - 30):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"bad\.npz"):
            FeatureVectors(path)
    with pytest.raises(ValueError, match="is there"):
        FeatureVectors(tmp_path / "none.npz")


def test_more_than_there_is_memory_for_is_refused(npz, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Free", (), {"available": 50}))
    with pytest.raises(ValueError, match="more memory than is free"):
        FeatureVectors(npz())


def lists(rows=None):
    return [row if row is None else list(map(float, row)) for row in (matrix() if rows is None else rows)]


@pytest.mark.parametrize("name", ["vector", "embedding", "anything"])
@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 5)], ids=str
)
def test_a_column_of_lists_is_read(parquet, name, kind):
    path = parquet({name: pa.array(lists(), kind), "label": LABELS})
    assert source_for(path)[0] == "vectors"
    source, items = found(path)
    np.testing.assert_allclose(source.table.vectors, matrix())
    assert [item.label for item in items] == LABELS.tolist()


def test_columns_of_numbers_are_read_in_their_order(parquet):
    columns = {f"v{number}": matrix()[:, number] for number in (0, 2, 1)}
    extras = {"label": [1, 1, 2, 2, 3, 3], "fold": [0, 1] * 3, "row": range(6), "note": ["x"] * 6}
    source, items = found(parquet({**extras, **columns}))
    np.testing.assert_allclose(source.table.vectors, matrix()[:, [0, 2, 1]])
    assert items[1] == ImageEntry("vector 1", "1", fold=1)


def test_lists_that_are_missing_or_of_other_lengths_leave_their_rows_out(parquet, monkeypatch):
    rows = lists()
    rows[0], rows[2], rows[4] = None, rows[2][:3], [*rows[4][:4], float("nan")]
    source, items = found(parquet({"vector": pa.array(rows, pa.list_(pa.float32())), "label": LABELS}))
    assert [isinstance(item, SkippedEntry) for item in items] == [True, False, True, False, True, False]
    assert items[2].reason == "It has 3 numbers; the first vector has 5."
    assert "no vector" in items[0].reason
    np.testing.assert_allclose(source.table.vectors[[1, 3, 5]], matrix()[[1, 3, 5]])


def test_missing_numbers_and_labels_leave_their_rows_out(parquet):
    columns = {"a": pa.array([1, None, 3], pa.int32()), "b": [1.0, 2.0, 3.0], "label": ["x", "x", None]}
    _, items = found(parquet(columns))
    assert [isinstance(item, SkippedEntry) for item in items] == [False, True, True]


def test_a_table_of_files_is_still_one(parquet):
    path = parquet({"file": ["a.png", "b.png"], "label": ["x", "y"], "a": [1.0, 2.0], "b": [1.0, 2.0]})
    assert source_for(path)[0] == "table"
    assert FileTable.takes(path)


def test_parquet_without_what_is_needed_is_refused(parquet, tmp_path):
    with pytest.raises(ValueError, match="must have labels"):
        FeatureVectors(parquet({"vector": lists()}))
    with pytest.raises(ValueError, match="lists of numbers, or columns of numbers"):
        FeatureVectors(parquet({"label": LABELS, "note": LABELS}))
    with pytest.raises(ValueError, match="must hold words"):
        FeatureVectors(parquet({"vector": lists(), "label": lists()}))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert not FeatureVectors.takes(tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="no Parquet"):
        FeatureVectors(tmp_path / "bad.parquet")


def test_too_many_rows_are_noticed_while_they_come(parquet, monkeypatch):
    path = parquet({"vector": lists(), "label": LABELS})
    monkeypatch.setattr(module, "VALUE_LIMIT", 10)
    with pytest.raises(ValueError, match="at most"):
        FeatureVectors(path)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_an_import_makes_a_set_with_vectors_beside_pictures(npz, root):
    rows = matrix()
    rows[2] = np.nan
    folder = import_path(npz(vectors=rows, splits=np.array(["train", "test"] * 3)))
    facts = read_facts(folder)
    assert facts.has_vectors
    assert any("feature vectors" in note for note in facts.notes)
    assert (facts.counts, facts.side) == ({"images": 5, "classes": 3, "left_out": 1}, 8)
    table = open_set(facts.id)
    np.testing.assert_array_equal(table.vectors, np.delete(rows, 2, axis=0))
    assert table.pixels.shape == (5, 8, 8, 1)
    assert table.splits is not None
    assert "not finite" in read_left_out(folder).reason[0]
    assert isinstance(table.vectors.base, np.memmap)


def test_other_vectors_are_another_set_and_touched_ones_are_refused(npz, root):
    first = import_path(npz())
    rows = matrix()
    rows[0, 0] += 1e-4  # too little for the picture
    second = import_path(npz(vectors=rows))
    assert first != second
    data = bytearray((second / "vectors.npy").read_bytes())
    data[-1] ^= 1
    (second / "vectors.npy").write_bytes(data)
    with pytest.raises(ValueError, match="not the ones that were imported"):
        open_set(second.name)
    assert import_path(npz()) == first


def test_a_prepared_set_keeps_the_vectors_of_its_rows(npz, root, tmp_path):
    first = import_path(npz())
    index = read_index(first).astype(object).where(lambda frame: frame.notna(), None)
    index["fold"] = -1
    chosen = index.iloc[[4, 1]]
    derived = derive_set(pd.DataFrame(chosen), {"a": first}, "Two", root=root)
    np.testing.assert_array_equal(open_set(derived.name).vectors, matrix()[[4, 1]])
    assert find_set(derived.name).has_vectors
