"""The files of the MNIST family, whole and damaged."""

from __future__ import annotations

import gzip
import io
import struct

import numpy as np
import pytest
from PIL import Image

from mlcore.data.sources import IdxFiles, ImageEntry, source_for


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES = np.arange(6 * 5 * 5, dtype=np.uint8).reshape(6, 5, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES[:2])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:2])))
    return tmp_path


def pixels(source, file):
    return np.asarray(Image.open(io.BytesIO(source.open(file))))


def test_both_parts_are_taken_and_say_which_they_are(folder):
    key, source = source_for(folder)
    items = list(source.find())
    assert key == "idx"
    assert [item.split for item in items] == ["test"] * 2 + ["train"] * 6
    assert items[2] == ImageEntry("train-images-idx3-ubyte/0", "0", split="train")


def test_images_are_bit_for_bit(folder):
    source = IdxFiles(folder)
    for number in range(6):
        assert np.array_equal(pixels(source, f"train-images-idx3-ubyte/{number}"), IMAGES[number])
    assert np.array_equal(pixels(source, "t10k-images-idx3-ubyte.gz/1"), IMAGES[1])


def test_one_file_of_a_pair_is_enough_to_name(folder):
    key, source = source_for(folder / "t10k-images-idx3-ubyte.gz")
    assert key == "idx"
    assert len(list(source.find())) == 2


def test_emnist_characters_are_named(folder):
    (folder / "emnist-mapping.txt").write_text("0 48\n1 65\n2 97\n")
    assert {item.label for item in IdxFiles(folder).find()} == {"0", "A", "a"}


def test_colour_is_read_in_either_order(tmp_path):
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    (tmp_path / "x-images-idx4-ubyte").write_bytes(idx(images))
    (tmp_path / "x-labels-idx1-ubyte").write_bytes(idx(LABELS[:2]))
    assert np.array_equal(pixels(IdxFiles(tmp_path), "x-images-idx4-ubyte/1"), images[1].transpose(1, 2, 0))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\x08\x03",
        idx(IMAGES)[:-1],
        idx(IMAGES) + b"x",
        b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**20, 2**20),
        b"\0\0\x0d\x03" + idx(IMAGES)[4:],
        b"\0\0\x08\xff" + idx(IMAGES)[4:],
        idx(IMAGES[:5]),
        idx(LABELS),
        b"\x80\x04\x95pickle" + b"x" * 100,
    ],
    ids=["empty", "head", "short", "long", "enormous", "floats", "dimensions", "count", "no images", "pickle"],
)
def test_damaged_arrays_are_refused(folder, data):
    (folder / "train-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(ValueError, match="idx"):
        list(IdxFiles(folder).find())


def test_a_gzip_bomb_is_read_no_further_than_its_head_says(folder):
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES[:2]) + b"\0" * 30_000_000))
    with pytest.raises(ValueError, match="longer"):
        list(IdxFiles(folder).find())


@pytest.mark.parametrize("cut", [1, 9, 20])
def test_a_cut_gzip_is_refused(folder, cut):
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="t10k"):
        list(IdxFiles(folder).find())


def test_links_are_not_followed(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "x"
    other.write_bytes(idx(IMAGES))
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "train-images-idx3-ubyte").symlink_to(other)
    assert {item.split for item in IdxFiles(folder).find()} == {"test"}


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte/6", "train-images-idx3-ubyte/-1", "x/0", "../x/0", "", "/"])
def test_images_that_are_not_there_are_refused(folder, file):
    with pytest.raises(ValueError, match="no such image"):
        IdxFiles(folder).open(file)


def test_a_folder_without_pairs_is_refused(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(ValueError, match="beside its labels"):
        IdxFiles(tmp_path)
