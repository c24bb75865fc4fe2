"""MATLAB files, whole and damaged."""

import contextlib
import io
import random

import numpy as np
import pytest
from scipy.io import savemat

from mlcore.data.sources import matlab
from mlcore.data.sources.matlab import read_mat


def whole():
    file = io.BytesIO()
    rows = np.array([(7, "a.jpg"), (9, "b.jpg")], dtype=[("class", "O"), ("fname", "O")]).reshape(1, -1)
    names = np.array([["Car 1", "Car 2"]], dtype=object)
    savemat(file, {"annotations": rows, "class_names": names, "other": 3})
    return file.getvalue()


def test_annotations_come_field_by_field():
    found = read_mat("a.mat", whole())
    assert found == {"annotations": {"class": [7, 9], "fname": ["a.jpg", "b.jpg"]}, "class_names": ["Car 1", "Car 2"]}


@pytest.mark.parametrize("seed", range(3))
def test_damaged_file_is_refused_or_read_and_never_more(seed):
    draw, data = random.Random(seed), bytearray(whole())
    for _ in range(4):
        data[draw.randrange(128, len(data))] = draw.randrange(256)
    with contextlib.suppress(ValueError):
        assert set(read_mat("a.mat", bytes(data))) <= {"annotations", "class_names"}


@pytest.mark.parametrize("data", [b"", b"MATLAB 5.0 MAT-file", whole()[:300]])
def test_what_is_cut_off_is_refused(data):
    with pytest.raises(ValueError, match=r"a\.mat: cannot be read as a MATLAB file: .*Unpack it again"):
        read_mat("a.mat", data)


def test_reader_that_breaks_down_takes_nobody_along(monkeypatch, tmp_path):
    script = tmp_path / "reader.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(matlab, "__file__", str(script))
    with pytest.raises(ValueError, match="its reader broke down"):
        read_mat("a.mat", whole())
