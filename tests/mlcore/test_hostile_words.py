"""Whatever is typed, and whatever a file's head says: a sentence and the code 2, or it works; never a traceback."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import image_bytes, tree

from mlcore.__main__ import build_parser, main, spec_from_options
from mlcore.data.import_preview import look_at_path
from mlcore.spec.run_spec import RunSpec

SECTIONS = (
    ["dataset", "dataset.split", "dataset.params", "dataset.fold", "x", "loss", "loss.margin", "loss.params", "budget"],
    ["budget.steps", "teacher", "teacher.run", "teacher.backbone", "backbone", "backbone.model", "head.embedding_size"],
    ["optimizer.head_lr", "miner", "sampler", "method", "augment", "mix", "wrapper", "second_loss", "distance"],
    ["reducer", "subset_miner", "threads", "device", "seed", "name", "watch.evaluate_every", ".", "a.b.c", "", " "],
)
PATHS = [path for line in SECTIONS for path in line]
ODD = [
    "null", "", "[" * 2000, "{a: " * 500, "!!timestamp x", "!!int x", "!!float x", "!!bool x", "!!binary x", "!!null x",
    "!!set {a}", "!!python/object/apply:os.system [ls]", "2020-01-01", "1e400", ".inf", ".nan", "1" * 5000, "{}", "[]",
    "{key: null}", "{key: [1]}", "{params: 3}", "{params: {margin: null}}", "? [a]\n: b", "{1: 2}", "{null: 3}", "*a",
    "&a x", "1:30", '"\\ud800"', "\x00", "{<<: 1}", "=", "{key: x, key: y}", "~root", "~nobody_at_all", "../..",
    "\ud83d", "@", "`", "- a", "{key: glyphs, split: [class]}", "{key: arcface, params: {margin: 1e400}}",
]  # fmt: skip
VALUES = st.one_of(st.sampled_from(ODD), st.text(max_size=30), st.integers().map(str), st.floats().map(str))
often = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("path", ["dataset", "loss", "loss.margin", "x", "budget.steps", "teacher"])
def test_an_odd_value_of_a_setting_is_read_or_refused(path, value):
    read_settings(path, value)


@often
@given(st.sampled_from(PATHS), VALUES)
def test_any_text_in_a_setting_is_read_or_refused(path, value):
    read_settings(path, value)


def read_settings(path, value):
    try:
        spec = spec_from_options(build_parser().parse_args(["train", f"--set={path}={value}"]))
    except ValueError:
        return
    assert RunSpec.from_text(spec.to_yaml()) == spec


@often
@given(
    st.recursive(VALUES, lambda inner: st.dictionaries(st.sampled_from(PATHS), inner, max_size=4)),
    st.sampled_from(["{}", "loss: {}", "dataset: {}", "budget: {{steps: {}}}", "teacher: {}"]),
)
def test_any_settings_file_is_read_or_refused(record, frame):
    with contextlib.suppress(ValueError):
        RunSpec.from_text(frame.format(record))


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--set", "dataset=null"],
        ["train", "--set", "x=" + "[" * 2000],
        ["train", "--set", "x=!!timestamp x"],
        ["train", "--dataset", "\udc80"],
        ["import", "\x00"],
        ["import", ".", "--option", "level=null"],
        ["import", ".", "--option", "level=" + "9" * 400],
        ["import", ".", "--option", "level=1e400"],
        ["import", ".", "--source", "nothing"],
        ["prepare", "no such set"],
    ],
    ids=repr,
)
def test_the_command_says_a_sentence_and_ends_with_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("mlcore: ")
    assert "Traceback" not in said


def npz(head=b""):
    """An archive of vectors whose array's head is what it is given."""
    file = io.BytesIO()
    arrays = {"vectors": np.ones((4, 3), np.float32), "labels": np.arange(4)}
    if not head:
        np.savez(file, **arrays)
        return file.getvalue()
    with zipfile.ZipFile(file, "w") as packed:
        padded = head + b" " * 20 + b"\n"
        packed.writestr("vectors.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(padded)) + padded + b"\0" * 48)
        packed.writestr("labels.npy", npy(np.arange(4)))
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def parquet():
    file = io.BytesIO()
    pd.DataFrame({"file": ["a.png", "b.png"], "label": ["x", "y"]}).to_parquet(file)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("é/a.png", image_bytes())
        packed.writestr("t.csv", "file,label\na.png,x\n")
    return file.getvalue()


WHOLE = {
    "v.npz": npz(),
    "t.parquet": parquet(),
    "t.csv": b'file,label,box,fold\na.png,x,"1,2,3,4",1\nb.png,y,,\n',
    "own.zip": zipped(),
    "x-images-idx3-ubyte": bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 4, 4) + bytes(32),
}
LABELS = bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes(2)


def look(folder, name, data):
    tree(folder, {name: data, "x-labels-idx1-ubyte": LABELS})
    with contextlib.suppress(ValueError):
        look_at_path(folder / name)


@pytest.mark.parametrize(
    "head", [b"(((", b"{'descr': '<f4', 'shape': ((((", b"{" * 300, b"'''", b"{'descr': 1}", b"\\", b"0x"]
)
def test_a_head_of_an_array_that_says_nonsense_is_refused(tmp_path, head):
    tree(tmp_path, {"v.npz": npz(head)})
    with pytest.raises(ValueError, match=r"v\.npz"):
        look_at_path(tmp_path / "v.npz")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("seed", range(12))
def test_any_damage_to_a_file_is_read_or_refused(tmp_path, name, seed):
    draw = random.Random(seed)
    for _ in range(8):
        data = bytearray(WHOLE[name])
        for _ in range(draw.choice((1, 1, 2, 8))):
            place = draw.randrange(len(data))
            what = draw.randrange(4)
            if what == 0:
                data[place] = draw.randrange(256)
            elif what == 1:
                del data[place : place + draw.randrange(1, 9)]
            elif what == 2:
                data[place:place] = draw.randbytes(draw.randrange(1, 9))
            else:
                data[place : place + 4] = draw.choice((b"\xff" * 4, b"\0" * 4, b"((((", b"\x7f\xff\xff\xff"))
            data = data or bytearray(b"x")
        look(tmp_path, name, bytes(data))
