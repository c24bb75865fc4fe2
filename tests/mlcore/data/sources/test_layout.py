"""Folders called train and test: seen as a split wherever people have them, and nowhere else."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from image_files import archive, tree

from mlcore.data.sources import ImageEntry, ImageFolder, SkippedEntry, ZipArchive
from mlcore.data.sources.split_names import side_of_folder

PAIRS = [
    ("train", "test"),
    ("Train", "Valid"),
    ("training_set", "test_set"),
    ("train_images", "val_images"),
    ("TRAINING", "TESTING"),
    ("train2017", "val2017"),
    ("seg_train", "seg_test"),
    ("trainset", "testset"),
    ("trainval", "test"),
]


def files(*names):
    return dict.fromkeys((f"{name}/{number}.png" for name in names for number in range(2)), b"x")


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path):
    """Makes a source of files, as a folder and as a zip."""

    def make(made, **knobs):
        if request.param == "folder":
            return ImageFolder(tree(tmp_path / "own", made), **knobs)
        return ZipArchive(archive(tmp_path / "own.zip", made), **knobs)

    return make


def seen(source):
    """How many images each side and class has."""
    return Counter((item.split, item.label) for item in source.find() if isinstance(item, ImageEntry))


def left(source):
    return [item for item in source.find() if isinstance(item, SkippedEntry)]


@pytest.mark.parametrize(("trained", "tested"), PAIRS)
@pytest.mark.parametrize("around", ["", "archive/", "My data/pictures/"])
def test_sides_with_classes_in_them_are_the_official_split(source, trained, tested, around):
    made = source(files(*(f"{around}{side}/{label}" for side in (trained, tested) for label in ("cat", "dog"))))
    words = (side_of_folder(trained)[0], side_of_folder(tested)[0])
    assert seen(made) == {(word, label): 2 for word in words for label in ("cat", "dog")}
    (told,) = made.describe()
    assert "official split: train (4 images, 2 classes)" in told.text
    assert told.otherwise == "--option official_split=false"


def test_it_can_be_said_that_they_are_classes(source):
    made = source(files("train/cat", "train/dog", "test/cat", "test/dog"), official_split=False)
    assert seen(made) == {(None, "test"): 4, (None, "train"): 4}
    assert made.describe() == []


def test_three_sides_and_query_and_gallery(source):
    made = source(files("train/a", "val/a", "test/a", "query/b", "gallery/b"))
    assert {side for side, _ in seen(made)} == {"train", "val", "test", "query", "gallery"}
    assert "val and test and query and gallery are held out" in made.describe()[0].text


def test_sides_inside_their_classes(source):
    assert seen(source(files("cat/train", "cat/test", "dog/train", "dog/test"))) == {
        (side, label): 2 for side in ("train", "test") for label in ("cat", "dog")
    }


def test_a_folder_repeated_in_its_side_is_no_class(source):
    made = source(files(*(f"seg_{side}/seg_{side}/{label}" for side in ("train", "test") for label in ("sea", "ice"))))
    assert seen(made) == {(side, label): 2 for side in ("train", "test") for label in ("sea", "ice")}


def test_one_class_on_a_side_is_still_a_class(source):
    assert seen(source(files("train/cat", "train/dog", "test/cat"))) == {
        ("train", "cat"): 2,
        ("train", "dog"): 2,
        ("test", "cat"): 2,
    }


def test_with_a_level_the_first_are_parents_below_the_sides(source):
    made = source(files("train/pet/cat", "train/pet/dog", "test/pet/cat"), level=2)
    assert {(item.split, item.parent, item.label) for item in made.find()} == {
        ("train", "pet", "cat"),
        ("train", "pet", "dog"),
        ("test", "pet", "cat"),
    }


def test_test_images_without_classes_are_left_out_and_told(source):
    made = source(files("train/cat", "train/dog", "test"))
    assert seen(made) == {(None, "cat"): 2, (None, "dog"): 2}
    assert {item.file for item in left(made)} == {"test/0.png", "test/1.png"}
    assert "official_split=false" in left(made)[0].reason
    assert "no other side than train" in made.describe()[0].text
    assert "2 images in no class folder are left out" in made.describe()[0].text


def test_sides_without_any_class_take_nothing_and_say_so(source):
    made = source(files("train", "test"))
    assert not seen(made)
    assert "no image has a class" in made.describe()[0].text


@pytest.mark.parametrize(
    "names",
    [
        ("train", "bus", "car"),
        ("train_station", "test_tube"),
        ("train/red", "bus/red"),
        ("training_shoes/a", "test_pattern/a"),
        ("latest/a", "strained/b"),
    ],
)
def test_classes_that_sound_like_sides_are_classes(source, names):
    assert {label for _, label in seen(source(files(*names)))} == {name.split("/")[0] for name in names}


def test_a_lone_train_folder_is_only_around_its_classes(source):
    made = source(files("train/cat", "train/dog"))
    assert seen(made) == {(None, "cat"): 2, (None, "dog"): 2}
    assert "'train' holds all other folders" in made.describe()[0].text


def test_one_folder_around_all_does_not_count_in_a_folder_and_a_zip(source):
    assert {label for _, label in seen(source(files("photos/cat", "photos/dog")))} == {"cat", "dog"}


def test_a_folder_around_all_stays_a_parent_where_levels_need_it(source):
    assert {item.parent for item in source(files("pet/cat", "pet/dog"), level=2).find()} == {"pet"}


def test_names_whose_accents_are_written_in_two_ways_are_one_class(source):
    name = "café"
    made = source(files(f"train/{name}", f"test/{unicodedata.normalize('NFD', name)}", "train/b", "test/b"))
    assert seen(made)[("train", name)] == seen(made)[("test", name)] == 2


def test_classes_and_files_come_in_their_natural_order(source):
    made = source({f"{label}/img{number}.png": b"x" for label in (10, 2, 1, 11) for number in (10, 9)})
    assert [item.file for item in made.find()] == [f"{c}/img{n}.png" for c in (1, 2, 10, 11) for n in (9, 10)]
