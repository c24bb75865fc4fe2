"""What is no folder of images is refused before it is listed; a listing without images ends soon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_files import classes

from mlcore.data import importing
from mlcore.data.importing import ImportStopped, import_path
from mlcore.data.sources import refused_places, source_for
from mlcore.data.sources.safe_folder import Root


@pytest.fixture
def unlisted(monkeypatch):
    """Whoever lists a folder fails."""

    def refuse(*_):
        raise AssertionError("it was listed")

    monkeypatch.setattr(Root, "entries", refuse)


@pytest.mark.parametrize("path", ["/", "/proc", "/proc/self", "/sys/kernel", "/dev", "/usr", "/etc", "/tmp/..", "~"])
def test_the_disk_the_system_and_a_home_are_refused_unlisted(unlisted, path):
    if not Path(path).expanduser().exists():
        pytest.skip("there is no such folder on this system")
    with pytest.raises(ValueError, match="Name the folder in which the images lie"):
        import_path(path)


def test_the_lab_s_own_folders_are_refused_but_not_what_people_keep_beside(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LAB_RUNS", str(tmp_path / "runs"))
    shoes = import_path(classes(tmp_path / "data" / "shoes"))
    (tmp_path / "runs" / ("0" * 26)).mkdir(parents=True)
    for own in (tmp_path / "data", shoes, tmp_path / "runs", tmp_path / "runs" / ("0" * 26)):
        with pytest.raises(ValueError, match="lab keeps its own"):
            source_for(own)
    assert source_for(classes(tmp_path / "data" / ".uploads" / "one"))[0] == "image_folder"


def test_very_many_files_without_images_end_the_listing(monkeypatch, tmp_path):
    monkeypatch.setattr(refused_places, "LOOKED_AT", 50)
    for number in range(60):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(ValueError, match="of the first 50 files 0 are images"):
        import_path(tmp_path)


def test_a_long_listing_says_how_far_it_is_and_stops_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(importing, "TELL_EVERY_S", 0.0)
    told = []
    with pytest.raises(ImportStopped):
        import_path(
            classes(tmp_path / "many", 4, 10),
            progress=lambda done, total, _: told.append((done, total)),
            cancelled=lambda: len(told) == 3,
        )
    assert told == [(1, None), (2, None), (3, None)]


def test_ctrl_c_ends_a_listing(monkeypatch, tmp_path):
    listed, entries = [], Root.entries

    def interrupted(root, below=""):
        listed.append(below)
        if len(listed) == 3:
            raise KeyboardInterrupt
        return entries(root, below)

    monkeypatch.setattr(Root, "entries", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_path(classes(tmp_path / "many", 4, 2))
    assert len(listed) == 3
    assert os.listdir(tmp_path) == ["many"]
