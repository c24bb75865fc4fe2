"""Folders: what is a class, what is a parent, and that nothing leads out."""

from __future__ import annotations

import os
import socket
import unicodedata

import pytest
from image_files import classes, image_bytes, tree

from mlcore.data.sources import ImageEntry, ImageFolder, SkippedEntry, source_for
from mlcore.data.sources.safe_folder import Root


def found(source):
    return [item for item in source.find() if isinstance(item, ImageEntry)]


def left(source):
    return {item.file: item.reason for item in source.find() if isinstance(item, SkippedEntry)}


def test_each_folder_is_a_class_in_the_order_of_names(tmp_path):
    source = ImageFolder(classes(tmp_path / "own", 2, 2))
    assert [(item.file, item.label) for item in found(source)] == [
        ("c0/0.png", "c0"),
        ("c0/1.png", "c0"),
        ("c1/0.png", "c1"),
        ("c1/1.png", "c1"),
    ]
    assert found(source)[0].parent is None


def test_deeper_folders_belong_to_their_class(tmp_path):
    tree(tmp_path, {"cat/outside/1.png": b"x", "cat/2.png": b"x"})
    assert {item.label for item in found(ImageFolder(tmp_path))} == {"cat"}


def test_the_folder_above_the_label_is_its_parent(tmp_path):
    tree(tmp_path, {"animal/cat/1.png": b"x", "animal/dog/1.png": b"x", "tool/saw/1.png": b"x"})
    assert [(item.label, item.parent) for item in found(ImageFolder(tmp_path, level=2))] == [
        ("cat", "animal"),
        ("dog", "animal"),
        ("saw", "tool"),
    ]


def test_one_name_under_two_parents_is_two_classes(tmp_path):
    tree(tmp_path, {"red/small/1.png": b"x", "blue/small/1.png": b"x", "blue/large/1.png": b"x"})
    assert {item.label for item in found(ImageFolder(tmp_path, level=2))} == {"red/small", "blue/small", "large"}


def test_images_above_their_class_folder_are_listed(tmp_path):
    tree(tmp_path, {"stray.png": b"x", "cat/1.png": b"x"})
    assert "no class folder" in left(ImageFolder(tmp_path))["stray.png"]
    assert set(left(ImageFolder(tmp_path, level=2))) == {"stray.png", "cat/1.png"}


def test_other_files_are_listed_and_hidden_ones_passed_over(tmp_path):
    tree(tmp_path, {"cat/notes.txt": b"x", "cat/more.zip": b"x", "cat/.DS_Store": b"x", "__MACOSX/cat/1.png": b"x"})
    reasons = left(ImageFolder(tmp_path))
    assert set(reasons) == {"cat/notes.txt", "cat/more.zip"}
    assert "archive" in reasons["cat/more.zip"]


def test_names_that_differ_by_case_or_by_how_accents_are_written_are_taken_once(tmp_path):
    accent = "caf\u00e9"
    names = ["dog/A.png", "dog/a.PNG", f"{accent}/1.png", f"{unicodedata.normalize('NFD', accent)}/1.png"]
    tree(tmp_path, dict.fromkeys(names, b"x"))
    assert len(found(ImageFolder(tmp_path))) == 2
    assert len(left(ImageFolder(tmp_path))) == 2


def test_names_in_any_writing_are_taken(tmp_path):
    names = ["猫/一.png", "ねこ/🐈.png", "кот/1.png", "  spaced  /1 2.png", "<b>&amp;/x.png"]
    tree(tmp_path, {name: image_bytes() for name in names})
    source = ImageFolder(tmp_path)
    assert {item.file for item in found(source)} == set(names)
    assert all(source.open(name) == image_bytes() for name in names)


def test_a_name_that_is_not_unicode_is_listed(tmp_path):
    folder = os.fsencode(tmp_path) + b"/cat"
    os.mkdir(folder)
    try:
        with open(folder + b"/\xff\xfe.png", "wb"):
            pass
    except OSError:
        pytest.skip("this disk takes only Unicode names")
    (reason,) = left(ImageFolder(tmp_path)).values()
    assert "Unicode" in reason


def test_links_are_listed_and_never_followed(tmp_path):
    secret = tree(tmp_path / "secret", {"1.png": image_bytes()})
    own = tree(tmp_path / "own", {"cat/1.png": image_bytes()})
    (own / "cat" / "link.png").symlink_to(secret / "1.png")
    (own / "dog").symlink_to(secret)
    (own / "cat" / "round").symlink_to(own)
    source = ImageFolder(own)
    assert [item.file for item in found(source)] == ["cat/1.png"]
    assert set(left(source)) == {"cat/link.png", "cat/round", "dog"}
    for name in ("cat/link.png", "dog/1.png", "cat/round/cat/1.png"):
        with pytest.raises(ValueError, match="link"):
            source.open(name)


@pytest.mark.parametrize(
    "name", ["../secret/1.png", "/etc/passwd", "cat/../../secret/1.png", "", "cat//1.png", "C:/x.png"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    tree(tmp_path / "secret", {"1.png": b"x"})
    root = Root(tree(tmp_path / "own", {"cat/1.png": b"x"}))
    with pytest.raises(ValueError, match="Its name"):
        root.open(name)


def test_a_folder_exchanged_for_a_link_after_the_listing_is_refused(tmp_path):
    secret = tree(tmp_path / "secret", {"1.png": b"secret"})
    own = tree(tmp_path / "own", {"cat/1.png": b"x"})
    source = ImageFolder(own)
    (item,) = found(source)
    (own / "cat" / "1.png").unlink()
    (own / "cat").rmdir()
    (own / "cat").symlink_to(secret)
    with pytest.raises(ValueError, match="link"):
        source.open(item.file)


def test_pipes_and_sockets_are_listed_and_do_not_hang(tmp_path, monkeypatch):
    tree(tmp_path, {"cat/1.png": b"x"})
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    monkeypatch.chdir(tmp_path / "cat")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.png")
    source = ImageFolder(tmp_path)
    assert set(left(source)) == {"cat/pipe.png", "cat/socket.png"}
    for name in ("cat/pipe.png", "cat/socket.png"):
        with pytest.raises(ValueError, match="It "):
            source.open(name)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="at most 20 MB"):
        Root(tmp_path).open("large.png")


def test_a_root_of_a_like_name_is_not_inside(tmp_path, monkeypatch):
    inside, sibling = classes(tmp_path / "root"), classes(tmp_path / "root-secret")
    monkeypatch.setenv("LAB_IMPORT_ROOTS", str(inside))
    assert source_for(inside)[0] == "image_folder"
    with pytest.raises(ValueError, match="LAB_IMPORT_ROOTS"):
        source_for(sibling)
    (inside / "out").symlink_to(sibling)
    with pytest.raises(ValueError, match="LAB_IMPORT_ROOTS"):
        source_for(inside / "out")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="that is there"):
        source_for(tmp_path / "nothing")


def test_very_deep_folders_end(tmp_path):
    path = tmp_path
    for _ in range(40):
        path = path / "d"
    tree(path, {"1.png": b"x"})
    assert any("folders deep" in reason for reason in left(ImageFolder(tmp_path)).values())
