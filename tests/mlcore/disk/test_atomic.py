"""Whole lines, whole files, or nothing: torn ends, full disks, damaged bytes."""

import errno
import json
import os

import pytest

from mlcore.disk import atomic
from mlcore.disk.atomic import DiskFull, LineReader, LineWriter, ManifestedFiles, read_verified, replace_json


def lines(path):
    return list(LineReader(path, lambda record: True).read_new())


def test_a_torn_last_line_is_not_read_and_the_next_writer_removes_it(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"seq":1}\n{"seq":2}\n{"seq":3,"lo')
    assert [record["seq"] for record in lines(path)] == [1, 2]
    writer = LineWriter(path)
    writer.append({"seq": 4})
    writer.close()
    assert [record["seq"] for record in lines(path)] == [1, 2, 4]


def test_every_cut_of_the_last_record_leaves_the_ones_before(tmp_path):
    whole = b'{"seq":1}\n{"seq":2}\n{"seq":3}\n'
    for cut in range(20, len(whole) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        expected = [1, 2, 3] if cut == len(whole) else [1, 2]
        assert [record["seq"] for record in lines(path)] == expected
        LineWriter(path).close()
        assert path.read_bytes() == (whole if cut == len(whole) else whole[:20])


def test_a_reader_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "events.jsonl"
    reader, writer = LineReader(path, lambda record: True), LineWriter(path)
    assert list(reader.read_new()) == []
    writer.append({"seq": 1})
    assert [record["seq"] for record in reader.read_new()] == [1]
    writer.append({"seq": 2})
    assert [record["seq"] for record in reader.read_new()] == [2]
    assert list(reader.read_new()) == []
    writer.close()


def test_a_line_that_is_not_json_is_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"seq":1}\n\x00\xff garbage\n{"seq":2}\n')
    assert [record["seq"] for record in lines(path)] == [1, 2]


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    writer = LineWriter(tmp_path / "events.jsonl")
    with pytest.raises(ValueError, match="JSON compliant"):
        writer.append({"loss": float("nan")})
    writer.close()


def test_an_endless_line_is_refused(tmp_path):
    writer = LineWriter(tmp_path / "events.jsonl")
    with pytest.raises(ValueError, match="at most"):
        writer.append({"text": "x" * atomic.LINE_LIMIT})
    writer.close()


def test_a_short_write_on_a_full_disk_leaves_only_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    writer = LineWriter(path)
    writer.append({"seq": 1})
    real = os.write
    calls = []

    def short(descriptor, data):
        calls.append(len(data))
        if len(calls) == 1:
            return real(descriptor, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "write", short)
    with pytest.raises(DiskFull):
        writer.append({"seq": 2})
    monkeypatch.undo()
    assert path.read_bytes() == b'{"seq":1}\n'
    writer.append({"seq": 3})
    writer.close()
    assert [record["seq"] for record in lines(path)] == [1, 3]


def test_a_failed_replacement_leaves_the_old_file_and_no_junk(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    replace_json(path, {"state": "running"})

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "write", full)
    with pytest.raises(DiskFull):
        replace_json(path, {"state": "done"})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"state": "running"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_a_file_exists_for_readers_only_once_its_manifest_line_is_whole(tmp_path):
    files = ManifestedFiles(tmp_path)
    files.add("snapshots/000001.npz", b"abc", step=1)
    files.close()
    manifest = tmp_path / "manifest.jsonl"
    (entry,) = lines(manifest)
    assert read_verified(tmp_path, entry) == b"abc"
    manifest.write_bytes(manifest.read_bytes()[:-3])
    assert lines(manifest) == []


@pytest.mark.parametrize("damage", [b"abd", b"ab", b""])
def test_damaged_bytes_are_never_handed_on(tmp_path, damage):
    files = ManifestedFiles(tmp_path)
    files.add("a.npz", b"abc")
    files.close()
    (entry,) = lines(tmp_path / "manifest.jsonl")
    (tmp_path / "a.npz").write_bytes(damage)
    with pytest.raises(ValueError, match="damaged"):
        read_verified(tmp_path, entry)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_manifest_cannot_point_out_of_its_folder(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"x")
    inside = tmp_path / "run"
    (inside / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="points out of it"):
        read_verified(inside, {"file": name, "sha256": ""})


def test_unfinished_files_of_dead_processes_are_swept(tmp_path):
    dead = tmp_path / ".status.json.999999999.abc.tmp"
    own = tmp_path / f".status.json.{os.getpid()}.abc.tmp"
    for path in (dead, own):
        path.write_bytes(b"half")
    atomic.sweep_temporaries(tmp_path)
    assert not dead.exists()
    assert own.exists()
