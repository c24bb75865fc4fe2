"""A folder that nothing leads out of: listed and opened name by name, no link followed, only plain files read."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import unicodedata
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path, PurePosixPath

from mlcore.data.natural_order import natural_key
from mlcore.data.sources.entries import Reading, SkippedEntry

FILE_LIMIT = 20 * 2**20  # bytes of one image file, as it stands or as it comes out of an archive
DEPTH_LIMIT = 32
ALSO_ALLOWED: ContextVar[Path | None] = ContextVar("ALSO_ALLOWED", default=None)
NO_LINK = "It is a link. Links are not followed: put the image itself here."
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"}


class TooLong(Exception):
    """Listing takes longer than whoever looks wants to wait."""


class Root:
    """A folder and everything below it.

    Names are relative, parts separated by '/'. A name that is absolute, goes up, or passes through a link is refused,
    also where the link appears after the listing: every part of a name is opened on its own, links excluded.

    Raises: ValueError if the path is not a folder, or no place that `LAB_IMPORT_ROOTS` allows (see `resolve_allowed`).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = resolve_allowed(path)
        if not self.path.is_dir():
            raise ValueError(f"{path}: must be a folder that is there. Check its name.")
        self.given = Path(os.path.abspath(Path(path).expanduser()))
        self.spellings: dict[str, dict[str, str]] = {}
        self.until: float | None = None  # when listing ends, by the monotonic clock, for those who only look

    def open(self, file: str, limit: int = FILE_LIMIT) -> bytes:
        """The bytes of a file; ValueError, with the reason as a sentence, where it may not or cannot be read."""
        descriptor = self.descriptor(file)
        try:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise ValueError(f"Its file has {size / 2**20:.0f} MB; at most {limit / 2**20:.0f} MB are read.")
            data = read_up_to(descriptor, limit)
        except OSError as error:
            raise ValueError(f"It cannot be read: {error.strerror}.") from None
        finally:
            os.close(descriptor)
        return data

    def descriptor(self, file: str) -> int:
        """An open descriptor of a plain file; the caller closes it."""
        names = check_name(file).split("/")
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in names[:-1]:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = below
            descriptor = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            raise ValueError(open_error_sentence(error, self.path.joinpath(*names))) from None
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ValueError("It is not a plain file.")
        return descriptor

    def stamp(self, file: str) -> str:
        """Changes when the file does: its size and the time of its last change; empty for what cannot be opened."""
        try:
            facts = os.stat(f"{self.path}/{check_name(file)}", follow_symlinks=False)
        except (OSError, ValueError):
            return ""
        return f"{facts.st_size}:{facts.st_mtime_ns}"

    def name_below(self, file: str) -> str:
        """A name as it is written on the disk: relative where it is an absolute path into this folder, and with its
        accents as they are there. What is no name in here stays as it is."""
        for folder in (self.given, self.path):
            with contextlib.suppress(ValueError):
                file = str(PurePosixPath(file).relative_to(folder)) if file.startswith("/") else file
        return file if file.isascii() or os.path.lexists(self.path / file) else self.find_spelling(file)

    def find_spelling(self, file: str) -> str:
        """The name of a file that is there and whose name differs in how its accents are written; else the name."""
        below = ""
        for name in file.split("/"):
            if below not in self.spellings:
                names = [entry.name for entry in self.entries(below)]
                self.spellings[below] = {unicodedata.normalize("NFC", there): there for there in names}
            there = self.spellings[below].get(unicodedata.normalize("NFC", name))
            if name in (".", "..") or there is None:
                return file
            below = f"{below}{there}/"
        return below.removesuffix("/")

    def describe_names(self) -> list[Reading]:
        """Nothing is guessed of names on the disk."""
        return []

    def files(self, below: str = "", depth: int = 0) -> Iterator[str | SkippedEntry]:
        """Every plain file's name, in the order of names; links and other oddities as `SkippedEntry`.

        Hidden files (a dot before the name, `__MACOSX`, Thumbs.db) are what systems leave behind: they are passed over.
        """
        if self.until is not None and time.monotonic() > self.until:
            raise TooLong("There are more folders and files than can be looked at here.")
        for entry in self.entries(below):
            name = f"{below}{entry.name}"
            if is_hidden(entry.name):
                continue
            if not is_text(name):
                yield SkippedEntry(make_printable(name), "Its name is not valid Unicode. Rename it.")
            elif entry.is_symlink():
                yield SkippedEntry(name, NO_LINK)
            elif entry.is_dir(follow_symlinks=False):
                if depth == DEPTH_LIMIT:
                    yield SkippedEntry(name, f"It lies more than {DEPTH_LIMIT} folders deep.")
                else:
                    yield from self.files(f"{name}/", depth + 1)
            elif entry.is_file(follow_symlinks=False):
                yield name
            else:
                yield SkippedEntry(name, "It is not a plain file.")

    def entries(self, below: str = "") -> list[os.DirEntry[str]]:
        """What stands in a folder, in the natural order of names; nothing where it cannot be listed."""
        try:
            with os.scandir(self.path / below) as found:
                return sorted(found, key=lambda entry: natural_key(entry.name))
        except OSError:
            return []


def resolve_allowed(path: str | os.PathLike[str]) -> Path:
    """The path with its own links resolved. Where `LAB_IMPORT_ROOTS` names folders, it must lie in one of them.

    Raises: ValueError if it does not, or is not a path.
    """
    try:
        real = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{make_printable(str(path))[:200]}: is no path that can be read: {error}") from None
    roots = [Path(root).resolve() for root in os.environ.get("LAB_IMPORT_ROOTS", "").split(os.pathsep) if root]
    also = ALSO_ALLOWED.get()
    if roots and also is not None:
        roots.append(also.resolve())
    if roots and not any(real.is_relative_to(root) for root in roots):
        raise ValueError(f"{path}: images are only read from {' or '.join(map(str, roots))}, as LAB_IMPORT_ROOTS says.")
    return real


@contextlib.contextmanager
def allow_folder(folder: Path | None) -> Iterator[None]:
    """For a while, in this thread, one more folder that images may be read from: where somebody's upload lies."""
    token = ALSO_ALLOWED.set(folder)
    try:
        yield
    finally:
        ALSO_ALLOWED.reset(token)


def check_name(file: str) -> str:
    """The name itself if it stays inside its root; ValueError with the reason if not."""
    if not file or file.startswith(("/", "\\", "~")) or file[1:2] == ":":
        raise ValueError("Its name is not relative to the images' folder.")
    if any(part in ("", ".", "..") for part in file.split("/")):
        raise ValueError("Its name leads out of the images' folder.")
    if not file.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in file):
        raise ValueError("Its name has control characters.")
    if len(file.encode(errors="replace")) > 4096 or not is_text(file):
        raise ValueError("Its name is too long or not valid Unicode.")
    return file


def read_up_to(descriptor: int, limit: int) -> bytes:
    """Everything of a descriptor; ValueError where it is more than `limit`, whatever its size had said."""
    parts, total = [], 0
    length = min(max(os.fstat(descriptor).st_size + 1, 2**14), 2**20)
    while part := os.read(descriptor, min(limit + 1 - total, length)):
        parts.append(part)
        total += len(part)
        if total > limit:
            raise ValueError(f"Its file has more than {limit / 2**20:.0f} MB.")
    return b"".join(parts)


def open_error_sentence(error: OSError, path: Path) -> str:
    if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and any(p.is_symlink() for p in path.parents)):
        return NO_LINK
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "There is no such file."
    return f"It cannot be opened: {error.strerror}."


def same_name(file: str) -> str:
    """What two names share that differ only by case, or by how accents are written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", file).casefold())


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_printable(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def not_an_image(file: str) -> str:
    """Why a file's name says that it is no image that can be read; empty where it may be one."""
    suffix = PurePosixPath(file).suffix.lower()
    if suffix in SUFFIXES:
        return ""
    if suffix in ARCHIVES:
        return "It is an archive in the source. Unpack it first."
    return f"Only {', '.join(sorted(SUFFIXES))} are read; its name ends in '{suffix or file.rpartition('/')[2][-12:]}'."
