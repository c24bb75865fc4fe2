"""The table's door: what it refuses, and what makes two tables the same."""

import numpy as np
import pytest

from mlcore.data import ImageTable, split


def table(**changes):
    columns = {
        "key": "toy",
        "title": "Toy",
        "pixels": np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3, 1),
        "labels": np.array([0, 1, 0, 1]),
        "class_names": ("ball", "cube"),
        "image_names": ("a", "b", "c", "d"),
        "origin": "Made here.",
        "licence": "None.",
    }
    return ImageTable(**columns | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((4, 2, 3, 1))}, "pixels must be uint8"),
        ({"pixels": np.zeros((4, 2, 3), np.uint8)}, "pixels must be uint8"),
        ({"pixels": np.zeros((4, 2, 3, 4), np.uint8)}, "pixels must be uint8"),
        ({"pixels": np.zeros((0, 2, 3, 1), np.uint8)}, "at least one image"),
        ({"labels": np.array([0, 1, 0, 1], np.int32)}, "labels must be int64"),
        ({"labels": np.array([0, 1, 0])}, "one for each of 4 images"),
        ({"labels": np.array([0, 1, 0, 2])}, r"labels must be 0\.\.1"),
        ({"labels": np.array([0, 0, 0, 0])}, "each used at least once"),
        ({"image_names": ("a",)}, "4 images need as many names; got 1"),
        ({"texts": ("a cat",)}, "4 images need as many texts, or none; got 1"),
        ({"parent_names": ("thing",)}, "1 parent names need parents; got none"),
        ({"parents": np.array([0, 0], np.int32), "parent_names": ("thing",)}, "parents must be int64"),
        ({"parents": np.array([0, 0, 0, 0]), "parent_names": ("thing",)}, "one for each of 2 classes"),
        ({"parents": np.array([0, 1]), "parent_names": ("thing",)}, r"parents must be 0\.\.0"),
        ({"splits": np.array(["train", "test"])}, "splits must be words, one for each of 4 images"),
        ({"splits": np.array([0, 1, 0, 1])}, "splits must be words"),
        ({"folds": np.array([0, 1])}, "folds must be int64, one for each of 4 images"),
        ({"folds": np.array([0.0, 1.0, 0.0, 1.0])}, "folds must be int64"),
        ({"parents": np.array([0, 0]), "parent_names": ("thing", "being")}, "each used at least once"),
    ],
)
def test_column_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"toy: .*{message}"):
        table(**changes)


def test_texts_are_kept_and_no_part_of_the_fingerprint():
    told = table(texts=("a cat", "", "a dog", ""))
    assert told.texts[2] == "a dog"
    assert table().texts == ()
    assert told.fingerprint == table().fingerprint


def test_size_and_channels_are_read_from_the_pixels():
    assert len(table()) == 4
    assert table().image_size == (2, 3)
    assert table().channels == 1


def test_levels_are_the_class_and_where_there_is_one_its_parent():
    assert table().parents is None
    assert table().label_levels.tolist() == [[0], [1], [0], [1]]
    grouped = table(parents=np.array([1, 0]), parent_names=("box", "round"))
    assert grouped.label_levels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    with pytest.raises(ValueError, match="read-only"):
        grouped.parents[0] = 0


def test_parents_change_no_fingerprint_so_that_older_runs_still_know_their_images():
    assert table(parents=np.array([0, 0]), parent_names=("thing",)).fingerprint == table().fingerprint


def test_split_and_folds_that_came_with_the_set_are_kept_read_only_and_count():
    splits, folds = np.array(["train", "train", "test", "test"]), np.array([0, 1, 0, 1])
    own = table(splits=splits, folds=folds)
    assert split(own.labels, "official", splits=own.splits).held_out.tolist() == [2, 3]
    assert split(own.labels, "fold", folds=own.folds, fold=1).held_out.tolist() == [1, 3]
    for column in (own.splits, own.folds):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]
    fingerprints = {table(**changes).fingerprint for changes in ({}, {"splits": splits}, {"folds": folds})}
    assert len(fingerprints | {own.fingerprint}) == 4


def test_fingerprint_ignores_titles_but_not_what_is_learned_from():
    first = table().fingerprint
    assert len(first) == 64
    assert table(title="Other", image_names=("e", "f", "g", "h")).fingerprint == first
    assert table(labels=np.array([1, 0, 0, 1])).fingerprint != first
    assert table(class_names=("ball", "cone")).fingerprint != first
    assert table(pixels=np.arange(1, 25, dtype=np.uint8).reshape(4, 2, 3, 1)).fingerprint != first
    assert table(pixels=np.arange(24, dtype=np.uint8).reshape(4, 3, 2, 1)).fingerprint != first


def test_fingerprint_is_the_same_in_every_process():
    assert table().fingerprint == "b3e5b3d68a9ffd38b03c463bec286a30efcdf77770c8619835ff8ed972e15891"
