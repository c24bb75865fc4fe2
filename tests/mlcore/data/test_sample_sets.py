"""The committed strips: what is in them, what must not be, and what happens when they are damaged."""

import importlib.machinery
import importlib.util
import string
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlcore.data import load, sample_sets
from mlcore.data.sample_sets import read_strips, sample_folder

CROSS = np.array([[9, 8], [7, 6]], dtype=np.uint8)


def write_set(folder, table, **strips):
    folder.mkdir()
    (folder / "table.csv").write_text("sheet,tile,class,image\n" + table, encoding="utf-8")
    for name, tiles in strips.items():
        Image.fromarray(np.hstack(tiles)).save(folder / f"{name}.png")
    return folder


def read(folder):
    return read_strips("toy", title="Toy", mode="L", origin="Made.", licence="None.", folder=folder)


def test_tiles_come_in_the_order_of_the_table(tmp_path):
    table = read(
        write_set(
            tmp_path / "toy",
            "b.png,1,ball,second\nb.png,0,ball,first\na.png,0,apple,third\n",
            b=[CROSS, CROSS + 10],
            a=[CROSS + 20],
        )
    )
    np.testing.assert_array_equal(table.pixels[..., 0], [CROSS + 10, CROSS, CROSS + 20])
    assert table.class_names == ("ball", "apple")
    assert table.labels.tolist() == [0, 0, 1]
    assert table.image_names == ("second", "first", "third")


def write_grouped(folder, *lines):
    made = write_set(folder, "", b=[CROSS, CROSS + 10, CROSS + 20])
    (made / "table.csv").write_text("\n".join(["sheet,tile,class,image,parent", *lines]), encoding="utf-8")
    return made


def test_parents_are_numbered_as_they_come_and_stand_by_class(tmp_path):
    table = read(write_grouped(tmp_path / "toy", "b.png,0,pear,a,fruit", "b.png,1,ball,b,toy", "b.png,2,apple,c,fruit"))
    assert table.parent_names == ("fruit", "toy")
    assert table.parents.tolist() == [0, 1, 0]


def test_without_a_parent_column_there_are_no_parents(tmp_path):
    table = read(write_set(tmp_path / "toy", "b.png,0,ball,first\n", b=[CROSS]))
    assert table.parents is None
    assert table.parent_names == ()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("b.png,0,pear,a,fruit", "b.png,1,pear,b,toy"), "'pear' has 'fruit' and 'toy'"),
        (("b.png,0,pear,a,fruit", "b.png,1,ball,b,"), "one for each of 2 classes"),
    ],
)
def test_class_with_two_parents_or_none_is_refused(tmp_path, lines, words):
    with pytest.raises(ValueError, match=words):
        read(write_grouped(tmp_path / "toy", *lines))


def test_strip_shorter_than_the_table_is_refused(tmp_path):
    folder = write_set(tmp_path / "toy", "b.png,2,ball,third\n", b=[CROSS, CROSS])
    with pytest.raises(ValueError, match="one is too short"):
        read(folder)


def test_missing_strip_is_named(tmp_path):
    folder = write_set(tmp_path / "toy", "gone.png,0,ball,first\n")
    with pytest.raises(ValueError, match=r"the strip gone\.png must be there"):
        read(folder)


def test_samples_are_found_in_an_installed_package_when_there_is_no_checkout(tmp_path, monkeypatch):
    installed = write_set(tmp_path / "toy", "").parent
    spec = importlib.machinery.ModuleSpec(sample_sets.INSTALLED, None, is_package=True)
    spec.submodule_search_locations = [str(installed)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == sample_sets.INSTALLED else None)
    assert sample_folder("toy") == installed / "toy"


def test_samples_that_are_nowhere_are_a_sentence():
    with pytest.raises(ValueError, match="its images must stand in sample_data/nowhere"):
        sample_folder("nowhere")


def test_glyphs_are_every_digit_and_letter_once_per_typeface():
    table = load("glyphs")
    assert table.class_names == tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
    assert np.bincount(table.labels).tolist() == [36] * 62


def test_glyphs_are_grouped_by_the_kind_of_character():
    table = load("glyphs")
    assert table.parent_names == ("digits", "capital letters", "small letters")
    kinds = {name: table.parent_names[parent] for name, parent in zip(table.class_names, table.parents, strict=True)}
    assert (kinds["7"], kinds["c"], kinds["C"]) == ("digits", "small letters", "capital letters")
    assert np.bincount(table.parents).tolist() == [10, 26, 26]


def test_emoji_are_grouped_as_unicode_groups_them():
    table = load("emoji")
    kinds = {name: table.parent_names[parent] for name, parent in zip(table.class_names, table.parents, strict=True)}
    assert kinds["thumbs up"] == "hand fingers closed"
    assert kinds["astronaut"] == "person role"
    assert kinds["nose"] == "body parts"
    assert (np.diff(table.parents) >= 0).all()


@pytest.mark.parametrize(
    ("key", "fingerprint"),
    [("glyphs", "b086e72a4d9297ae"), ("emoji", "1a04ed9d4f521500"), ("digits", "f8380e433da2c905")],
)
def test_samples_are_those_that_older_runs_were_trained_on(key, fingerprint):
    assert load(key).fingerprint.startswith(fingerprint)


def test_capital_and_small_letter_of_one_face_differ_in_height():
    table = load("glyphs")
    ink = {name: (table.pixels[row, ..., 0] < 128).any(axis=1).sum() for row, name in enumerate(table.image_names)}
    assert ink["C in Roboto Regular"] > ink["c in Roboto Regular"] + 3


def test_emoji_are_six_tones_by_two_designers():
    table = load("emoji")
    assert np.bincount(table.labels).tolist() == [12] * 130
    kinds = {tuple(name.split(", ")[1:]) for name in table.image_names}
    assert len({tone for tone, _ in kinds}) == 6
    assert {designer for _, designer in kinds} == {"Noto", "Twemoji"}


@pytest.mark.parametrize("word", ["middle finger", "sign of the horns", "pinching hand", "ninja", "steamy", "bath"])
def test_what_does_not_belong_in_a_classroom_is_not_among_the_emoji(word):
    names = set(load("emoji").class_names) - {"hand with index and middle fingers crossed"}
    assert not [name for name in names if word in name]


@pytest.mark.parametrize("key", ["glyphs", "emoji"])
def test_strip_names_differ_on_file_systems_that_ignore_case(key):
    names = [path.name for path in sample_folder(key).iterdir()]
    assert len({name.lower() for name in names}) == len(names)
    assert all(set(name) <= set(string.ascii_letters + string.digits + "_.") for name in names)


def test_samples_are_small_and_no_file_is_left_over():
    files = [path for key in ("glyphs", "emoji") for path in sample_folder(key).iterdir()]
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) < 5_000_000
    assert max(sizes) < 1_000_000
    assert len(files) == 62 + 130 + 2


def test_every_licence_shown_is_written_beside_the_samples():
    text = Path(sample_folder("glyphs")).parent.joinpath("LICENSES.md").read_text(encoding="utf-8")
    for words in ("Apache License 2.0", "SIL Open Font License 1.1", "Twitter, Inc and other contributors, CC BY 4.0"):
        assert words in text
