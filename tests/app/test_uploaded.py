"""An upload goes to the disk in parts, and the memory that held it is given back."""

from __future__ import annotations

import hashlib
import io
from types import SimpleNamespace

import pytest

from app import uploaded as module
from app.uploaded import PART_BYTES, let_go, parted, spooled, uploaded


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
    folder = spooled([sent])
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
    let_go([Sent(b"")])
    assert gone == [("somebody", "file-1")]


def test_a_table_and_the_zip_of_its_images_are_one_import(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("app.uploaded.st", SimpleNamespace(session_state={}))
    first = uploaded([sent("my images.zip", b"zip"), sent("labels.CSV", b"file,label")])
    assert first.path == str(first.folder / "labels.csv")
    assert first.options == {"root": "my-images.zip"}
    assert uploaded([sent("my images.zip", b"zip"), sent("labels.CSV", b"file,label")]) == first
    second = uploaded([sent("other.zip", b"other")])
    assert second.options == {}
    assert not first.folder.exists()


@pytest.mark.parametrize("names", [("a.zip", "b.zip"), ("a.csv", "b.npz"), ("a.zip", "a.zip")])
def test_files_that_do_not_belong_together_are_refused(names):
    with pytest.raises(ValueError, match=r"One import takes|one name"):
        parted(names)


def sent(name, data):
    """A file as Streamlit hands it over."""
    file = Sent(data)
    file.name, file.file_id = name, f"{name}-{len(data)}"
    return file
