"""The files in a zip archive, read one by one. Nothing is ever unpacked to disk."""

from __future__ import annotations

import os
import stat
import struct
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mlcore.data.natural_order import path_key
from mlcore.data.sources.entries import Reading, SkippedEntry
from mlcore.data.sources.safe_folder import FILE_LIMIT, NO_LINK, check_name, is_hidden, make_printable, resolve_allowed
from mlcore.data.sources.zip_names import (
    CODE_PAGES,
    LOOKED_AT,
    decode_name,
    fitting_code_pages,
    guess_code_page,
    raw_name,
    stated_name,
)
from mlcore.declare import Knob

ENTRY_LIMIT = 200_000
LIST_LIMIT = 32 * 2**20  # bytes of the archive's own list of entries, which is read as a whole
TOTAL_LIMIT = 16 * 2**30  # bytes of all entries, as the list says
RATIO_LIMIT = 200  # an image is packed already: more than this is a bomb
SMALL = 2**20  # a file this small may be packed to nothing
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
END, END_64_LOCATOR = b"PK\5\6", b"PK\6\7"
AUTO = "auto"
NAME_ENCODING = Knob(
    "How names are written where the archive does not say.",
    choices=(AUTO, *CODE_PAGES),
    title="Writing of its names",
    rare=True,
)


class PackedFiles:
    """A zip archive as a folder of files, whose names are relative, parts separated by '/'.

    An archive with names that lead out of it, or a list that cannot be, is hostile and refused as a whole; what is only
    of no use (links, encrypted files, twice the same name) is listed and left out. Names of which the archive does not
    say how they are written are read as `name_encoding` (a key of CODE_PAGES), or as what makes most sense ("auto").

    Raises: ValueError if the path is no zip archive, or is refused, or its names cannot be read in this encoding.
    """

    def __init__(self, path: str | os.PathLike[str], name_encoding: str = AUTO) -> None:
        self.path = resolve_allowed(path)
        check_list(self.path)
        try:
            self.archive = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
            raise ValueError(f"{self.path.name}: is no zip archive that can be read: {error}") from None
        self.lock = threading.Lock()  # zipfile counts its readers without one
        listed = self.archive.infolist()
        self.check_sizes(listed)
        self.unstated = [raw_name(entry) for entry in listed if stated_name(entry) is None]
        self.code_page = self.chosen_code_page(name_encoding)
        self.below = ""  # the folder that a table in the archive names its images from, with a '/'
        self.elsewhere: dict[str, str] = {}
        self.repeated: set[str] = set()
        self.entries = self.checked_entries(listed)

    def check_sizes(self, listed: list[zipfile.ZipInfo]) -> None:
        if len(listed) > ENTRY_LIMIT:
            raise ValueError(f"{self.path.name}: has {len(listed)} entries; at most {ENTRY_LIMIT} are read. Divide it.")
        total = sum(entry.file_size for entry in listed)
        if total > TOTAL_LIMIT:
            raise ValueError(
                f"{self.path.name}: would unpack to {total / 2**30:.0f} GB; at most {TOTAL_LIMIT / 2**30:.0f} GB are "
                "read. Divide it."
            )

    def chosen_code_page(self, name_encoding: str) -> str:
        """How the names are read whose writing is not stated."""
        if name_encoding == AUTO or not self.unstated:
            return guess_code_page(self.unstated)
        if decode_name(b"\n".join(self.unstated), name_encoding) is None:
            fitting = ", ".join(fitting_code_pages(self.unstated))
            raise ValueError(f"{self.path.name}: its names are not written in {name_encoding}. They may be: {fitting}.")
        return name_encoding

    def checked_entries(self, listed: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        """Every entry by its name, '/' separated; ValueError for an archive that is refused."""
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in listed:
            stated = stated_name(entry)
            name = raw_name(entry).decode(self.code_page, "replace") if stated is None else stated
            name = without_here(name.replace("\\", "/"))
            if not name:
                continue
            try:
                check_name(name.rstrip("/"))
            except ValueError as error:
                shown = make_printable(name)[:80]
                raise ValueError(f"{self.path.name}: is refused, because of its entry {shown!r}: {error}") from None
            if entries.setdefault(name, entry) is not entry:
                self.repeated.add(name)
        return entries

    def describe_names(self) -> list[Reading]:
        """How names were read of which the archive does not say it."""
        told = []
        if self.elsewhere:
            file, there = next(iter(self.elsewhere.items()))
            told.append(
                Reading(
                    f"{len(self.elsewhere):,} of the names lie in another folder of the archive, where one file alone "
                    f"ends so: '{file[:80]}' is '{there[:80]}'."
                )
            )
        if not self.unstated:
            return told
        example = next(name for name, entry in self.entries.items() if stated_name(entry) is None)
        told.append(
            Reading(
                f"The archive does not say how its names are written; they are read as {CODE_PAGES[self.code_page]}, "
                f"such as '{example[:80]}'.",
                "--option name_encoding=" + "|".join(fitting_code_pages(self.unstated)),
            )
        )
        return told

    def names_by_code_page(self) -> dict[str, str]:
        """A name of which the archive does not say how it is written, in each of the code pages that may be meant."""
        if not self.unstated:
            return {}
        example = max(self.unstated[:LOOKED_AT], key=lambda raw: sum(byte > 127 for byte in raw))
        return {page: example.decode(page) for page in fitting_code_pages(self.unstated)}

    def files(self) -> Iterator[str | SkippedEntry]:
        """Every file's name, in the order of names; a `SkippedEntry` for what cannot be used. No hidden files."""
        yield from (
            SkippedEntry(name, "The archive names it twice; its first is taken.") for name in sorted(self.repeated)
        )
        for name in sorted(self.entries, key=path_key):
            if not name.endswith("/") and not any(map(is_hidden, name.split("/"))):
                yield self.usable(name)

    def usable(self, name: str, limit: int | None = None) -> str | SkippedEntry:
        """The name, or why there is nothing to be had of it."""
        limit = limit or FILE_LIMIT
        entry = self.entries[name]
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind == stat.S_IFLNK:
            return SkippedEntry(name, NO_LINK)
        if kind not in (0, stat.S_IFREG):
            return SkippedEntry(name, "It is not a plain file.")
        if entry.flag_bits & 0x41:
            return SkippedEntry(name, "It is encrypted. Pack it without a password.")
        if entry.compress_type not in PACKED:
            return SkippedEntry(name, "It is packed in a way that is not read. Pack with 'store' or 'deflate'.")
        if entry.file_size > limit:
            megabytes = entry.file_size / 2**20
            return SkippedEntry(name, f"It has {megabytes:.0f} MB; at most {limit / 2**20:.0f} MB are read.")
        if entry.file_size > max(SMALL, RATIO_LIMIT * entry.compress_size):
            return SkippedEntry(name, f"It unpacks to more than {RATIO_LIMIT} times its size, as no image does.")
        return name

    def name_below(self, file: str) -> str:
        """A name as the archive has it. One that lies in another folder there is that of the only file that ends so."""
        name = self.find_spelling(f"{self.below}{file}")
        if name in self.entries:
            return name
        name = self.find_spelling(file)
        if name in self.entries:
            return name
        ending = unicodedata.normalize("NFC", f"/{file}")
        same = [there for there in self.by_last_name.get(ending.rpartition("/")[2], ()) if f"/{there}".endswith(ending)]
        if len(same) != 1 or "/../" in ending:
            return file
        self.elsewhere[file] = self.composed[same[0]]
        return self.elsewhere[file]

    @cached_property
    def by_last_name(self) -> dict[str, list[str]]:
        """Names by their last part, both composed."""
        found: dict[str, list[str]] = {}
        for name in self.composed:
            found.setdefault(name.rpartition("/")[2], []).append(name)
        return found

    def find_spelling(self, file: str) -> str:
        """The name of an entry, where accents may be written in another way than in `file`."""
        if file in self.entries or file.isascii():
            return file
        return self.composed.get(unicodedata.normalize("NFC", file), file)

    @cached_property
    def composed(self) -> dict[str, str]:
        return {unicodedata.normalize("NFC", name): name for name in self.entries}

    def open(self, file: str, limit: int | None = None) -> bytes:
        """The bytes of an entry, counted while they come out, whatever the list says.

        Raises: ValueError with the reason as a sentence.
        """
        name = self.find_spelling(file)
        entry = self.entries.get(name)
        if entry is None:
            raise ValueError("There is no such file in the archive.")
        if isinstance(reason := self.usable(name, limit), SkippedEntry):
            raise ValueError(reason.reason)
        try:
            with self.lock, self.archive.open(entry) as unpacked:
                data = unpacked.read(entry.file_size + 1)
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
        entry = self.entries.get(self.find_spelling(file))
        return "" if entry is None else f"{entry.file_size}:{entry.CRC}"


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether there is a zip archive at a path that is none of arrays."""
    return os.path.isfile(path) and Path(path).suffix.lower() != ".npz" and zipfile.is_zipfile(path)


def without_here(name: str) -> str:
    """Without './' in front, which some archivers write before every name."""
    while name.startswith("./"):
        name = name[2:]
    return name


def check_list(path: Path) -> None:
    """Look at what the archive says of its own list before anybody reads it.

    Raises: ValueError if there is none, or it is larger than an archive of images needs.
    """
    if not path.is_file():
        raise ValueError(f"{path}: must be a zip archive that is there. Check its name.")
    try:
        entries, length = read_stated_size(path)
    except (struct.error, OverflowError, ValueError, OSError):
        raise ValueError(f"{path.name}: is no zip archive, or is cut off.") from None
    if entries > ENTRY_LIMIT or length > LIST_LIMIT:
        raise ValueError(f"{path.name}: lists {entries} entries; at most {ENTRY_LIMIT} are read. Divide it.")


def read_stated_size(path: Path) -> tuple[int, int]:
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
