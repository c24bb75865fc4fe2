"""An upload goes to the disk in parts, and the memory that held it is given back."""

from __future__ import annotations

import hashlib
import io
from types import SimpleNamespace

import pytest

from app import adding
from app.adding import PART_BYTES, let_go, spooled


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
    stored = spooled(sent)
    assert stored.read_bytes() == data
    assert (stored.name, stored.parent.name) == ("b.zip", hashlib.sha256(data).hexdigest()[:16])
    assert stored.parent.parent == tmp_path / "data" / ".uploads"
    assert sent.most <= PART_BYTES


def test_streamlit_is_told_that_an_upload_has_been_taken(monkeypatch):
    gone = []
    manager = SimpleNamespace(remove_file=lambda session_id, file_id: gone.append((session_id, file_id)))
    context = SimpleNamespace(uploaded_file_mgr=manager, session_id="somebody")
    monkeypatch.setattr(adding, "get_script_run_ctx", lambda: context)
    let_go(Sent(b""))
    assert gone == [("somebody", "file-1")]
