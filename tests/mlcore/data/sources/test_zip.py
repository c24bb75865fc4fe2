"""Archives: what is taken, and every attack of a hostile one."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import archive, image_bytes, snapshot

from mlcore.data.sources import ImageEntry, SkippedEntry, ZipArchive, source_for
from mlcore.data.sources import zip_files as zips
from mlcore.data.sources.safe_folder import check_name

GOOD = {"cat/1.png": image_bytes(), "dog/1.png": image_bytes()}
EVIL = [
    "../evil.png",
    "cat/../../evil.png",
    "..\\evil.png",
    "cat\\..\\..\\evil.png",
    "/etc/evil.png",
    "//host/share/evil.png",
    "\\\\host\\share\\evil.png",
    "C:\\evil.png",
    "C:/evil.png",
    "c:evil.png",
    "~/evil.png",
    "cat/./evil.png",
    "cat//evil.png",
    "..",
    ".",
    "cat/evil\x00.png",
    "evil.png\x00/../../x",
    "cat/ev\nil.png",
    "cat/ev\x1bil.png",
    "cat/ev\x7fil.png",
    "cat/" + "a" * 5000 + ".png",
]


def found(source):
    return [item for item in source.find() if isinstance(item, ImageEntry)]


def left(source):
    return {item.file: item.reason for item in source.find() if isinstance(item, SkippedEntry)}


def test_each_folder_is_a_class(tmp_path):
    key, source = source_for(archive(tmp_path / "own.zip", GOOD))
    assert key == "zip"
    assert [(item.file, item.label) for item in found(source)] == [("cat/1.png", "cat"), ("dog/1.png", "dog")]
    assert source.open("cat/1.png") == GOOD["cat/1.png"]


def test_a_folder_around_all_others_does_not_count(tmp_path):
    files = {f"photos/{name}": data for name, data in GOOD.items()} | {"readme.txt": b"x", "__MACOSX/._1.png": b"x"}
    source = ZipArchive(archive(tmp_path / "own.zip", files))
    assert [item.label for item in found(source)] == ["cat", "dog"]


def test_one_class_alone_is_a_class(tmp_path):
    source = ZipArchive(archive(tmp_path / "own.zip", {"cat/1.png": b"x"}))
    assert [item.label for item in found(source)] == ["cat"]


def test_the_folder_above_the_label_is_its_parent(tmp_path):
    files = {"all/animal/cat/1.png": b"x", "all/tool/saw/1.png": b"x"}
    source = ZipArchive(archive(tmp_path / "own.zip", files), level=2)
    assert [(item.label, item.parent) for item in found(source)] == [("cat", "animal"), ("saw", "tool")]


@pytest.mark.parametrize("name", EVIL, ids=repr)
def test_an_archive_with_a_name_that_leads_out_is_refused_as_a_whole(tmp_path, name):
    path = tmp_path / "in" / "evil.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("cat/1.png", image_bytes())
        entry = zipfile.ZipInfo("cat/2.png")
        entry.filename = name
        packed.writestr(entry, image_bytes())
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"evil\.zip: is refused"):
        ZipArchive(path)
    assert snapshot(tmp_path) == before


@given(st.text(max_size=40))
def test_no_name_that_passes_leads_out(name):
    try:
        check_name(name)
    except ValueError:
        return
    parts = name.split("/")
    assert not name.startswith("/")
    assert not {"", ".", ".."} & set(parts)
    assert "\0" not in name


def test_links_are_listed(tmp_path):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        entry = zipfile.ZipInfo("cat/link.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(entry, "/etc/passwd")
        packed.writestr("cat/1.png", image_bytes())
    source = ZipArchive(path)
    assert "link" in left(source)["cat/link.png"]
    with pytest.raises(ValueError, match="link"):
        source.open("cat/link.png")


def test_devices_and_pipes_are_listed(tmp_path):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, kind in (("a", stat.S_IFIFO), ("b", stat.S_IFCHR), ("c", stat.S_IFSOCK)):
            entry = zipfile.ZipInfo(f"cat/{name}.png")
            entry.external_attr = (kind | 0o666) << 16
            packed.writestr(entry, b"x")
    assert set(left(ZipArchive(path)).values()) == {"It is not a plain file."}


def test_encrypted_files_are_listed(tmp_path):
    path = archive(tmp_path / "own.zip", GOOD)
    data = bytearray(path.read_bytes())
    place = data.rfind(b"PK\1\2")
    data[place + 8] |= 1
    path.write_bytes(data)
    source = ZipArchive(path)
    assert "encrypted" in left(source)["dog/1.png"]
    assert [item.file for item in found(source)] == ["cat/1.png"]
    with pytest.raises(ValueError, match="encrypted"):
        source.open("dog/1.png")


def test_archives_in_the_archive_are_not_opened(tmp_path):
    inner = archive(tmp_path / "inner.zip", GOOD).read_bytes()
    source = ZipArchive(archive(tmp_path / "own.zip", GOOD | {"cat/inner.zip": inner, "cat/x.tar.gz": b"x"}))
    assert "archive" in left(source)["cat/inner.zip"]
    assert "archive" in left(source)["cat/x.tar.gz"]


def test_a_bomb_is_listed_and_never_unpacked(tmp_path):
    source = ZipArchive(archive(tmp_path / "own.zip", GOOD | {"cat/bomb.png": b"\0" * 15_000_000}))
    assert "times its size" in left(source)["cat/bomb.png"]
    with pytest.raises(ValueError, match="times its size"):
        source.open("cat/bomb.png")


def test_a_file_larger_than_the_limit_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "FILE_LIMIT", 1000)
    source = ZipArchive(archive(tmp_path / "own.zip", {"cat/1.png": bytes(range(256)) * 8}, zipfile.ZIP_STORED))
    assert "are read" in left(source)["cat/1.png"]


@pytest.mark.parametrize("stated", [10, 100_000])
def test_a_lying_size_is_found_out(tmp_path, stated):
    data = image_bytes() + b"\0" * 5000
    path = archive(tmp_path / "own.zip", {"cat/1.png": data})
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.rfind(b"PK\1\2") + 24, stated)
    path.write_bytes(raw)
    source = ZipArchive(path)
    with pytest.raises(ValueError, match=r"It (is damaged|unpacks)|Its size"):
        source.open("cat/1.png")


def test_more_than_all_may_have_is_refused(tmp_path, monkeypatch):
    path = archive(tmp_path / "own.zip", GOOD)
    monkeypatch.setattr(zips, "TOTAL_LIMIT", 100)
    with pytest.raises(ValueError, match="would unpack to"):
        ZipArchive(path)


def test_too_many_entries_are_refused_before_they_are_listed(tmp_path, monkeypatch):
    path = archive(tmp_path / "own.zip", {f"cat/{n}.png": b"" for n in range(20)})
    monkeypatch.setattr(zips, "ENTRY_LIMIT", 10)
    monkeypatch.setattr(zips.zipfile, "ZipFile", None)
    with pytest.raises(ValueError, match="lists 20 entries"):
        ZipArchive(path)


def test_a_stated_list_of_gigabytes_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = archive(tmp_path / "own.zip", GOOD)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.rfind(b"PK\5\6") + 12, 2**31)
    path.write_bytes(raw)
    monkeypatch.setattr(zips.zipfile, "ZipFile", None)
    with pytest.raises(ValueError, match="Divide it"):
        ZipArchive(path)


def test_more_entries_than_the_archive_says_are_counted(tmp_path, monkeypatch):
    path = archive(tmp_path / "own.zip", {f"cat/{n}.png": b"" for n in range(20)})
    raw = bytearray(path.read_bytes())
    struct.pack_into("<HH", raw, raw.rfind(b"PK\5\6") + 8, 2, 2)
    path.write_bytes(raw)
    monkeypatch.setattr(zips, "ENTRY_LIMIT", 10)
    with pytest.raises(ValueError, match="entries"):
        ZipArchive(path)


def test_the_same_name_twice_and_by_case_is_taken_once(tmp_path):
    path = tmp_path / "own.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as packed:
        warnings.simplefilter("ignore")
        for name in ("cat/1.png", "cat/1.png", "CAT/1.PNG"):
            packed.writestr(name, image_bytes())
    source = ZipArchive(path)
    assert len(found(source)) == 1
    assert len([item for item in source.find() if isinstance(item, SkippedEntry)]) == 2


def test_entries_that_lie_over_each_other_give_no_more_than_is_stated(tmp_path):
    """One stored kernel named by many entries (a bomb without nesting): each is a whole, limited, separate read."""
    path = archive(tmp_path / "own.zip", {"cat/1.png": image_bytes()})
    raw = path.read_bytes()
    start = raw.rfind(b"PK\1\2")
    end = raw.rfind(b"PK\5\6")
    entry = raw[start:end]
    tail = bytearray(raw[end:])
    struct.pack_into("<HHI", tail, 8, 50, 50, 50 * len(entry))
    path.write_bytes(raw[:start] + entry * 50 + tail)
    source = ZipArchive(path)
    assert len(found(source)) == 1
    assert len(list(source.find())) == 2


@pytest.mark.parametrize("cut", [1, 10, 22, 40, 100])
def test_a_cut_archive_is_refused(tmp_path, cut):
    path = archive(tmp_path / "own.zip", GOOD)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="zip"):
        ZipArchive(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"PK\5\6", b"PK\5\6" + b"\xff" * 18, b"PK\6\7" + b"\xff" * 16 + b"PK\5\6" + b"\xff" * 18]
)
def test_what_only_begins_like_an_archive_is_refused(tmp_path, data):
    path = tmp_path / "own.zip"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"own\.zip"):
        ZipArchive(path)


def test_damaged_contents_are_said_when_they_are_read(tmp_path):
    path = archive(tmp_path / "own.zip", GOOD)
    raw = bytearray(path.read_bytes())
    for place in range(45, 90):
        raw[place] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="It is damaged"):
        ZipArchive(path).open("cat/1.png")


def test_reserved_and_marked_up_names_are_only_text(tmp_path):
    names = ["cat/CON.png", "cat/<img src=x onerror=alert(1)>.png", "cat/aux .png", "猫/🐈.png"]
    source = ZipArchive(archive(tmp_path / "own.zip", {name: image_bytes() for name in names}))
    assert {item.file for item in found(source)} == set(names)
    assert all(source.open(name) == image_bytes() for name in names)
