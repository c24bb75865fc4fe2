"""A zip archive of images, a folder for each class. Nothing is ever unpacked to disk."""

from __future__ import annotations

import os
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from mlcore.data.sources.classes import FolderLabels
from mlcore.data.sources.found import Found, LeftOut
from mlcore.data.sources.registry import SOURCES
from mlcore.data.sources.root import FILE_LIMIT, NO_LINK, allowed, checked_name, hidden, not_an_image, printable
from mlcore.declare import Knob

ENTRY_LIMIT = 200_000
LIST_LIMIT = 32 * 2**20  # bytes of the archive's own list of entries, which is read as a whole
TOTAL_LIMIT = 16 * 2**30  # bytes of all entries, as the list says
RATIO_LIMIT = 200  # an image is packed already: more than this is a bomb
SMALL = 2**20  # a file this small may be packed to nothing
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
END, END_64_LOCATOR = b"PK\5\6", b"PK\6\7"


@SOURCES.add("zip", title="Zip archive", family="own")
class ZipArchive:
    """A folder per class inside a zip; a folder around all of them does not count.

    An archive with names that lead out of it, or a list that cannot be, is hostile and refused as a whole; what is only
    of no use (links, encrypted files, archives in the archive, twice the same name) is listed and left out.

    Raises: ValueError if the path is no zip archive, or is refused.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        level: Annotated[int, Knob("Which folder in the archive is the class; the one above is its parent.", 1, 8)] = 1,
    ) -> None:
        self.path = allowed(path)
        self.level = level
        check_list(self.path)
        try:
            self.archive = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
            raise ValueError(f"{self.path.name}: is no zip archive that can be read: {error}") from None
        self.entries = self.checked_entries()
        self.lock = threading.Lock()  # zipfile counts its readers without one

    @staticmethod
    def takes(path: str | os.PathLike[str]) -> bool:
        is_arrays = Path(path).suffix.lower() == ".npz"
        return os.path.isfile(path) and zipfile.is_zipfile(path) and not is_arrays

    def checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        """Every entry by its name, '/' separated; ValueError for an archive that is refused."""
        listed = self.archive.infolist()
        if len(listed) > ENTRY_LIMIT:
            raise ValueError(f"{self.path.name}: has {len(listed)} entries; at most {ENTRY_LIMIT} are read. Divide it.")
        total = sum(entry.file_size for entry in listed)
        if total > TOTAL_LIMIT:
            raise ValueError(
                f"{self.path.name}: would unpack to {total / 2**30:.0f} GB; at most {TOTAL_LIMIT / 2**30:.0f} GB are "
                "read. Divide it."
            )
        entries: dict[str, zipfile.ZipInfo] = {}
        self.repeated: set[str] = set()
        for entry in listed:
            name = entry.orig_filename.replace("\\", "/")
            try:
                checked_name(name.rstrip("/"))
            except ValueError as error:
                shown = printable(name)[:80]
                raise ValueError(f"{self.path.name}: is refused, because of its entry {shown!r}: {error}") from None
            if entries.setdefault(name, entry) is not entry:
                self.repeated.add(name)
        return entries

    def find(self) -> Iterator[Found | LeftOut]:
        names = sorted(
            name for name in self.entries if not name.endswith("/") and not any(map(hidden, name.split("/")))
        )
        folders = {tuple(name.split("/")[:-1]) for name in names if not not_an_image(name)}
        labels = FolderLabels(self.level, folders, common_folders(folders))
        yield from (LeftOut(name, "The archive names it twice; its first is taken.") for name in sorted(self.repeated))
        yield from labels.read(self.usable(name) for name in names)

    def usable(self, name: str) -> str | LeftOut:
        entry = self.entries[name]
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind == stat.S_IFLNK:
            return LeftOut(name, NO_LINK)
        if kind not in (0, stat.S_IFREG):
            return LeftOut(name, "It is not a plain file.")
        if entry.flag_bits & 0x41:
            return LeftOut(name, "It is encrypted. Pack it without a password.")
        if entry.compress_type not in PACKED:
            return LeftOut(name, "It is packed in a way that is not read. Pack with 'store' or 'deflate'.")
        if entry.file_size > FILE_LIMIT:
            megabytes = entry.file_size / 2**20
            return LeftOut(name, f"It has {megabytes:.0f} MB; at most {FILE_LIMIT / 2**20:.0f} MB are read.")
        if entry.file_size > max(SMALL, RATIO_LIMIT * entry.compress_size):
            return LeftOut(name, f"It unpacks to more than {RATIO_LIMIT} times its size, as no image does.")
        return name

    def open(self, file: str) -> bytes:
        """The bytes of an entry, counted while they come out, whatever the list says."""
        entry = self.entries.get(file)
        if entry is None:
            raise ValueError("There is no such file in the archive.")
        if isinstance(reason := self.usable(file), LeftOut):
            raise ValueError(reason.reason)
        try:
            with self.lock, self.archive.open(entry) as unpacked:
                data = unpacked.read(min(FILE_LIMIT, entry.file_size) + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
            struct.error,
        ) as e:
            raise ValueError(f"It is damaged in the archive: {e}.") from None
        if len(data) != entry.file_size:
            raise ValueError("Its size is not the one that the archive says.")
        return data

    def stamp(self, file: str) -> str:
        entry = self.entries[file]
        return f"{entry.file_size}:{entry.CRC}"


def common_folders(folders: set[tuple[str, ...]]) -> int:
    """How many folders at the front hold everything without being classes: all but the last that all names share."""
    if not folders:
        return 0
    first, last = min(folders), max(folders)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return shared if any(len(folder) > shared for folder in folders) else max(shared - 1, 0)


def check_list(path: Path) -> None:
    """Look at what the archive says of its own list before anybody reads it.

    Raises: ValueError if there is none, or it is larger than an archive of images needs.
    """
    if not path.is_file():
        raise ValueError(f"{path}: must be a zip archive that is there. Check its name.")
    try:
        entries, length = stated_list(path)
    except (struct.error, OverflowError, ValueError, OSError):
        raise ValueError(f"{path.name}: is no zip archive, or is cut off.") from None
    if entries > ENTRY_LIMIT or length > LIST_LIMIT:
        raise ValueError(f"{path.name}: lists {entries} entries; at most {ENTRY_LIMIT} are read. Divide it.")


def stated_list(path: Path) -> tuple[int, int]:
    """How many entries the archive says it has, and how many bytes the list of them."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**16 - 22 - 20))
        tail = file.read()
        place = tail.rfind(END)
        if place < 0:
            raise OSError("no end of the list")
        entries, length = struct.unpack_from("<HI", tail, place + 10)
        if place >= 20 and tail[place - 20 : place - 16] == END_64_LOCATOR:
            file.seek(struct.unpack_from("<Q", tail, place - 12)[0])
            entries, length = struct.unpack_from("<QQ", file.read(56), 32)
    return entries, length
