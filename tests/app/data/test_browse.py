"""What the Data page says and shows of a set."""

from __future__ import annotations

import numpy as np
import pytest
import streamlit as st
from image_files import classes, image_bytes, picture, tree

from app.data.browse import GROUPS, class_rows, groups_text, most_like, pictures_at
from mlcore.data import ImageTable, load
from mlcore.data.importing import import_path


def table(names, parents):
    count = len(parents)
    return ImageTable(
        key="toy",
        title="Toy",
        pixels=np.zeros((count, 2, 2, 1), np.uint8),
        labels=np.arange(count),
        class_names=tuple(map(str, range(count))),
        image_names=tuple(map(str, range(count))),
        origin="Made.",
        licence="None.",
        parents=np.array(parents),
        parent_names=tuple(names),
    )


def test_names_from_outside_are_text():
    assert groups_text(table(["<b>", "two"], [0, 1])) == "Groups: \\<b\\> (1 class), two (1)."


def test_a_long_list_is_cut_and_says_how_many_more():
    assert groups_text(table(map(str, range(GROUPS)), range(GROUPS))).endswith(f"{GROUPS - 1} (1).")
    text = groups_text(table(map(str, range(GROUPS + 5)), range(GROUPS + 5)))
    assert text.endswith(f"{GROUPS - 1} (1) and 5 more.")


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    st.cache_resource.clear()
    st.cache_data.clear()
    yield tmp_path
    st.cache_resource.clear()
    st.cache_data.clear()


def test_of_imported_images_the_most_alike_are_found_by_their_hashes(data):
    folder = classes(data / "shop")
    tree(folder, {"c2/again.png": image_bytes(picture(0))})
    key = import_path(folder).name
    names = load(key).image_names
    found, said, by = most_like(key, load(key).fingerprint, names.index("c0/0.png"))
    assert names[found[0]] == "c2/again.png"
    assert (said[0], by) == ("0 of 64 bits apart", "perceptual hash")
    assert names.index("c0/0.png") not in found


def test_feature_vectors_are_alike_where_they_point_the_same_way(data):
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 2]], np.float32)
    np.savez(data / "deep.npz", vectors=vectors, labels=np.array(["a", "a", "b", "b"]))
    key = import_path(data / "deep.npz").name
    found, said, by = most_like(key, load(key).fingerprint, 0)
    assert (found[0], said[0], by) == (1, "cosine 0.99", "their vectors")


def test_pictures_of_grey_and_coloured_sets_stand_in_one_atlas(data):
    grey, colour = (import_path(classes(data / mode, mode=mode)).name for mode in ("L", "RGB"))
    assert pictures_at(((grey, 0), (colour, 5)), 16).count == 2


def test_the_images_of_a_page_are_in_its_atlas_and_no_others():
    toy = table(["x"], [0, 0, 0])
    rows, shown = class_rows(toy, np.array([True, False, False]), [2, 0], whole_classes=True, most=5)
    assert shown == (2, 0)
    assert [(row.title, row.note, row.tiles[0].id, row.tiles[0].tile) for row in rows] == [
        ("2", "1 image, training", 2, 0),
        ("0", "1 image, held out", 0, 1),
    ]
