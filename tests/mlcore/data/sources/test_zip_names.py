"""Names in zips: what they were meant to be, whatever wrote them."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
import zlib

import pytest
from image_files import image_bytes

from mlcore.data.sources import ImageEntry, ZipArchive
from mlcore.data.sources.zip_files import PackedFiles
from mlcore.data.sources.zip_names import CODE_PAGES, guess_code_page

WRITTEN = {
    "utf-8": ["café/0.png", "größe/1.png", "猫/2.png"],
    "cp437": ["café/0.png", "größe/1.png", "niño/2.png"],
    "cp850": ["ação/0.png", "Água/1.png", "São/2.png"],
    "cp1252": ["café/0.png", "größe/1.png", "Ärger/2.png"],
    "cp852": ["kočka/1.png", "žába/2.png", "łódź/3.png"],
    "cp1250": ["kočka/1.png", "žába/2.png", "łódź/3.png"],
    "cp866": ["кошка/1.png", "Собака/2.png"],
    "cp1251": ["кошка/1.png", "Собака/2.png"],
    "cp932": ["猫/写真.png", "いぬ/1.png", "ネコ/2.png"],
    "gbk": ["猫/照片.png", "狗/1.png", "汽车/1.png"],
    "big5": ["貓/照片.png", "狗/1.png", "汽車/1.png"],
    "cp949": ["고양이/사진.png", "강아지/1.png", "말/2.png"],
}


def zip_of(path, names, page):
    """A zip whose names are written in a code page and say nothing of it."""
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            packed.writestr(Unstated(name, page), image_bytes())
    return path


class Unstated(zipfile.ZipInfo):
    def __init__(self, name, page):
        super().__init__(name)
        self.page = page

    def _encodeFilenameFlags(self):
        return self.filename.encode(self.page), 0


@pytest.mark.parametrize("page", WRITTEN)
def test_names_are_read_in_the_code_page_in_which_they_are_words(page):
    raw = [name.encode(page) for name in WRITTEN[page]]
    assert [name.decode(guess_code_page(raw)) for name in raw] == WRITTEN[page]


@pytest.mark.parametrize("page", ["utf-8", "cp850", "cp932"])
def test_an_archive_that_does_not_say_it_is_read_so_told_and_opened(tmp_path, page):
    names = WRITTEN[page]
    source = ZipArchive(zip_of(tmp_path / "own.zip", names, page))
    assert {item.file for item in source.find()} == set(names)
    assert source.open(names[0]) == image_bytes()
    told = source.describe()[0]
    assert CODE_PAGES[page] in told.text
    assert page in told.otherwise.partition("name_encoding=")[2].split("|")


def test_another_code_page_can_be_said_and_one_that_does_not_fit_is_refused(tmp_path):
    path = zip_of(tmp_path / "own.zip", ["café/0.png", "b/1.png"], "cp437")
    assert {item.label for item in ZipArchive(path, name_encoding="cp866").find()} == {"cafВ", "b"}
    assert PackedFiles(path).names_by_code_page()["cp437"] == "café/0.png"
    with pytest.raises(ValueError, match=r"not written in utf-8. They may be: cp437, cp850"):
        ZipArchive(path, name_encoding="utf-8")


def test_names_that_the_archive_states_are_not_guessed(tmp_path):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("café/0.png", image_bytes())
        packed.writestr("b/0.png", image_bytes())
    source = ZipArchive(path)
    assert {item.label for item in source.find()} == {"café", "b"}
    assert source.describe() == []
    assert PackedFiles(path).names_by_code_page() == {}


def test_the_extra_field_with_the_name_in_unicode_is_taken(tmp_path):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        entry = zipfile.ZipInfo("neko/0.png")
        stated = b"\1" + struct.pack("<I", zlib.crc32(b"n\x80ko/0.png")) + "ねこ/0.png".encode()
        entry.extra = struct.pack("<HH", 0x7075, len(stated)) + stated
        packed.writestr(entry, image_bytes())
    path.write_bytes(path.read_bytes().replace(b"neko/0.png", b"n\x80ko/0.png"))
    assert [item.label for item in ZipArchive(path).find()] == ["ねこ"]


def test_names_that_begin_with_here_are_taken(tmp_path):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("./", "./a/", "./a/0.png", "././b/0.png"):
            packed.writestr(name, b"" if name.endswith("/") else image_bytes())
    assert [item.file for item in ZipArchive(path).find()] == ["a/0.png", "b/0.png"]


def test_a_name_asked_for_with_its_accents_in_another_way_is_found(tmp_path):
    path = tmp_path / "own.zip"
    decomposed = unicodedata.normalize("NFD", "café/é.png")
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(decomposed, image_bytes())
        packed.writestr("b/0.png", image_bytes())
    source = ZipArchive(path)
    assert source.open("café/é.png") == image_bytes()
    assert [item.label for item in source.find() if isinstance(item, ImageEntry)] == ["b", "café"]
