"""An upload goes to the disk in parts, and the memory that held it is given back."""

from __future__ import annotations

import hashlib
import io
import os
import time
from types import SimpleNamespace

import pytest

from app.data import uploads as module
from app.data.jobs import Job, Jobs
from app.data.upload_folders import LEFT_S, UploadFolders, upload_folders, uploads_folder
from app.data.uploads import PART_BYTES, SessionUpload, folder_for, release_upload, split_parts, write_files


class Sent(io.BytesIO):
    """An uploaded file that says how much of it was asked for at once."""

    name = "../../<b>my shop</b>.ZIP"
    file_id = "file-1"

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.most = 0

    def read(self, size=-1):
        part = super().read(size)
        self.most = max(self.most, len(part))
        return part

    def getbuffer(self):
        raise AssertionError("this makes a copy of the whole file in memory")

    getvalue = getbuffer


@pytest.mark.parametrize("size", [0, 10, PART_BYTES, 3 * PART_BYTES + 7])
def test_an_upload_is_written_in_parts_under_a_plain_name(tmp_path, monkeypatch, size):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    data = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    sent = Sent(data)
    sent.read(3)
    folder = folder_for([sent])
    write_files([sent], folder)
    (stored,) = folder.iterdir()
    assert stored.read_bytes() == data
    assert (stored.name, folder.name) == ("b.zip", hashlib.sha256(b"b.zip" + data).hexdigest()[:16])
    assert folder.parent == tmp_path / "data" / ".uploads"
    assert sent.most <= PART_BYTES


def test_streamlit_is_told_that_an_upload_has_been_taken(monkeypatch):
    gone = []
    manager = SimpleNamespace(remove_file=lambda session_id, file_id: gone.append((session_id, file_id)))
    context = SimpleNamespace(uploaded_file_mgr=manager, session_id="somebody")
    monkeypatch.setattr(module, "get_script_run_ctx", lambda: context)
    monkeypatch.setattr(module, "session_upload", lambda: SessionUpload(UploadFolders()))
    release_upload([Sent(b"")])
    assert gone == [("somebody", "file-1")]


def test_a_table_and_the_zip_of_its_images_are_one_import(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    session = SessionUpload(UploadFolders())
    first = session.take([sent("my images.zip", b"zip"), sent("labels.CSV", b"file,label")])
    assert first.path == str(first.folder / "labels.csv")
    assert first.options == {"root": "my-images.zip"}
    assert session.take([sent("my images.zip", b"zip"), sent("labels.CSV", b"file,label")]) == first
    second = session.take([sent("other.zip", b"other")])
    assert second.options == {}
    assert not first.folder.exists()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    return upload_folders()


def test_what_was_sent_goes_with_the_last_session_that_has_it(folders):
    one, other = SessionUpload(folders), SessionUpload(folders)
    folder = one.take([sent("a.zip", b"same")]).folder
    assert other.take([sent("a.zip", b"same")]).folder == folder
    one.let_go()
    one.let_go()
    assert folder.exists()
    other.let_go()
    assert list(uploads_folder().iterdir()) == []


def test_an_import_keeps_what_it_reads_after_its_session_and_another_import_have_ended(folders, monkeypatch):
    monkeypatch.setattr(Job, "begin", lambda job: None)
    monkeypatch.setattr(Job, "code", 0)
    jobs, session = Jobs(), SessionUpload(folders)
    folder = session.take([sent("a.zip", b"data")]).folder
    first, second = (jobs.begin(title, [], folder) for title in ("first", "second"))
    session.let_go()
    jobs.dismiss(first)
    jobs.dismiss(first)
    assert folder.exists()
    jobs.dismiss(second)
    assert not folder.exists()
    jobs.close()


def test_what_a_killed_server_left_goes_after_a_day_unless_it_is_needed(folders, monkeypatch):
    names = ("old", "new", "held", "needed")
    for name in names:
        (uploads_folder() / name).mkdir(parents=True)
    for name in ("old", "held", "needed"):
        os.utime(uploads_folder() / name, (0, time.time() - LEFT_S - 1))
    folders.hold(uploads_folder() / "held")
    begun = SimpleNamespace(path=str(uploads_folder() / "needed" / "a.zip"))
    monkeypatch.setattr("app.data.upload_folders.list_unfinished", lambda root: [begun])
    folders.remove_left()
    assert sorted(path.name for path in uploads_folder().iterdir()) == ["held", "needed", "new"]


def test_a_file_that_another_session_reads_is_not_written_again(folders):
    one, other = SessionUpload(folders), SessionUpload(folders)
    path = one.take([sent("a.zip", b"same")]).path
    before = os.stat(path)
    other.take([sent("a.zip", b"same")])
    assert os.stat(path).st_ino == before.st_ino
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    one.let_go()
    other.let_go()


def test_a_disk_that_is_full_leaves_no_part_of_a_file(folders, monkeypatch):
    def full(file):
        yield b"a part"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "read_chunks", full)
    session = SessionUpload(folders)
    monkeypatch.setattr(module, "folder_for", lambda sent: uploads_folder() / "x")
    with pytest.raises(OSError, match="No space"):
        session.take([sent("a.zip", b"data")])
    assert list((uploads_folder() / "x").iterdir()) == []
    session.let_go()
    assert list(uploads_folder().iterdir()) == []


@pytest.mark.parametrize("names", [("a.zip", "b.zip"), ("a.csv", "b.npz"), ("a.zip", "a.zip")])
def test_files_that_do_not_belong_together_are_refused(names):
    with pytest.raises(ValueError, match=r"One import takes|one name"):
        split_parts(names)


def sent(name, data):
    """A file as Streamlit hands it over."""
    file = Sent(data)
    file.name, file.file_id = name, f"{name}-{len(data)}"
    return file
