"""Writes an image set to disk, image after image, so that it can stop at any point and go on, and shows it only whole.

While it is written, a set is a hidden folder: pixels as they come, and a journal that names them. What the journal has
is on the disk already; what comes after is written again. The last act renames the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mlcore.data.decoding import ONE_COLOUR
from mlcore.data.fingerprint import array_files, compute_fingerprint, set_stamp
from mlcore.data.import_notes import VECTOR_NOTE, notes_on_decoding, notes_on_labels
from mlcore.data.natural_order import natural_key
from mlcore.data.sources.entries import ImageEntry, SkippedEntry
from mlcore.data.unfinished_imports import patient_lock, work_folder
from mlcore.disk.atomic import DiskFull, read_json, replace_file, replace_json, sync_folder, write_all

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
HEAD = 128  # bytes of a .npy file before its numbers
CHUNK = 8 * 2**20
RESERVE = 512 * 2**20  # bytes of the disk that are left to others
CHECKPOINT_S = 2.0
TEXT_LIMIT = 2000  # characters of a label or a text that are kept
TAKEN, LEFT = "taken", "left"
INDEX = ("row", "file", "label", "parent", "split", "fold", "text", "width", "height", "mode", "hash")
ROWS_KEPT = 1000
SAME_IMAGES = "The same images as"


class SetWriter:
    """One set in the making, in the hidden folder `.import-<name>` of the data root; the only writer of it.

    `name` is for what is imported and how: the same name goes on where the last writer stopped. Grey images are
    stored as one channel until the first coloured one comes.

    Raises: ValueError if another process writes this very set; DiskFull, with everything up to then kept, before the
    disk is full.
    """

    def __init__(self, root: Path, name: str, side: int) -> None:
        self.root, self.side = root, side
        self.folder = work_folder(root, name)
        lock = patient_lock(self.folder)
        if lock is None:
            raise ValueError("These images are being imported already, by another process. Wait for it.")
        self._lock = lock
        self._pending: list[bytes] = []
        self._checkpointed = time.monotonic()
        unlink_shared_arrays(self.folder)
        self._journal = os.open(self.folder / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._cut_journal()
        self.taken, self.left = self._counts()
        self._open_pixels()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def done(self) -> int:
        """How many things of the source are settled, taken or left out."""
        return self.taken + self.left

    def add(
        self,
        found: ImageEntry,
        pixels: np.ndarray,
        width: int,
        height: int,
        mode: str,
        look: str,
        *,
        remarks: Sequence[str] = (),
    ) -> None:
        """One more image, (side, side, 1 or 3) uint8, with its facts as the index has them; `look` is its hash.

        How many have which of the `remarks` on their decoding is told in the set's notes.
        """
        if pixels.shape[2] == 3 and self.channels == 1:
            self._widen()
        elif pixels.shape[2] == 1 and self.channels == 3:
            pixels = np.repeat(pixels, 3, axis=2)
        write_all(self._pixels, np.ascontiguousarray(pixels).data.cast("B"))
        facts = (found.file, found.label[:TEXT_LIMIT], found.parent, found.split, found.fold)
        text = found.text[:TEXT_LIMIT] if found.text else None
        self._note([TAKEN, self.taken, *facts, text, width, height, mode, look, *remarks])
        self.taken += 1

    def leave_out(self, left: SkippedEntry) -> None:
        self._note([LEFT, left.file[:4096], left.reason[:TEXT_LIMIT]])
        self.left += 1

    def checkpoint(self) -> None:
        """Bring all to the disk, the pixels before the journal that names them."""
        os.fdatasync(self._pixels)
        write_all(self._journal, b"".join(self._pending))
        self._pending.clear()
        self._checkpointed = time.monotonic()

    def check_room(self, count: int) -> None:
        """Raises: DiskFull if `count` more bytes leave less than half a gigabyte to others."""
        free = shutil.disk_usage(self.folder).free
        if free - count < RESERVE:
            raise DiskFull(
                f"The disk of {self.root} has {free / 2**20:.0f} MB free, and the import needs {count / 2**20:.0f} MB "
                f"more beside the {RESERVE / 2**20:.0f} MB that it leaves. Make room and import again: it goes on."
            )

    def finish(
        self,
        title: str,
        made_from: Mapping[str, object],
        options: Mapping[str, object],
        *,
        vectors_of: Callable[[list[str]], Iterable[np.ndarray]] | None = None,
        readings: Sequence[str] = (),
    ) -> Path:
        """Turn the hidden folder into a set; returns its folder. Where the same import gave the same images, that is
        the earlier one, with what is told of it now; a set of another import with the same images shares their pixels.

        `vectors_of` gives the vectors (n, D) float32 of the set's files, part after part, where it is one of vectors.
        `readings` are sentences on how the source was read.

        Raises: ValueError if there is no image.
        """
        self.checkpoint()
        index, left, remarks = self._tables()
        if not len(index):
            first = f" The first: {left.file[0]}: {left.reason[0]}" if len(left) else ""
            self.discard()
            raise ValueError(f"{title}: must have at least one image that can be read; it has none.{first}")
        shape = (len(index), self.side, self.side, self.channels)
        os.pwrite(self._pixels, npy_head(shape), 0)
        os.fsync(self._pixels)
        self._close_files()
        os.replace(self._pixels_path(self.channels), self.folder / "pixels.npy")
        if vectors_of is not None:
            self._write_vectors(len(index), vectors_of(index.file.tolist()))
        write_table(self.folder / "index.parquet", index)
        write_table(self.folder / "left_out.parquet", left)
        class_order = order_of_classes(index.label.unique().tolist())
        fingerprint = compute_fingerprint(self.folder, class_order)
        record = {
            "schema": SCHEMA,
            "id": f"set-{fingerprint[:12]}",
            "title": title,
            "source": dict(made_from),
            "counts": {"images": len(index), "classes": index.label.nunique(), "left_out": len(left)},
            "side": self.side,
            "mode": "grey" if self.channels == 1 else "RGB",
            "fingerprint": fingerprint,
            "stamp": set_stamp(self.folder),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "options": dict(options),
            "notes": [
                *readings,
                *notes_on_labels(index, left),
                *(notes_on_decoding(remarks) if vectors_of is None else [VECTOR_NOTE]),
            ],
            "class_order": class_order,
            "one_colour": remarks.get(ONE_COLOUR, [])[:ROWS_KEPT] if vectors_of is None else [],
        }
        return self._show(record)

    def discard(self) -> None:
        """Throw away all that was written."""
        self._close_files()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Keep what is there, for the next writer of the same name."""
        try:
            if self._journal >= 0:
                self.checkpoint()
        finally:
            self._close_files()
            self._lock.close()

    def _write_vectors(self, count: int, parts: Iterable[np.ndarray]) -> None:
        """`vectors.npy`, (count, D) float32, beside the pixels."""
        file, rows = os.open(self.folder / "vectors.npy", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), 0
        try:
            for part in parts:
                if not rows:
                    self.check_room(4 * count * part.shape[1])
                    write_all(file, npy_head((count, part.shape[1]), "<f4"))
                write_all(file, np.ascontiguousarray(part, "<f4").data.cast("B"))
                rows += len(part)
            os.fsync(file)
        finally:
            os.close(file)
        if rows != count:
            raise AssertionError(f"{rows} vectors for {count} rows")

    def _show(self, record: dict[str, Any]) -> Path:
        twins = self._sets_of(record["fingerprint"])
        same = next((folder for folder, there in twins.items() if is_same_import(there, record)), None)
        if same is not None:
            renew_record(same, self.folder, twins[same], record)
            self._forget_journal()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.close()
            return same
        if twins:
            first, there = next(iter(twins.items()))
            share_arrays(first, self.folder)
            told = f"{SAME_IMAGES} '{str(there.get('title', ''))[:60]}' ({first.name}); they are stored once."
            record["notes"] = [told, *record["notes"]]
            record["stamp"] = set_stamp(self.folder)
        target = self.root / record["id"]
        for number in itertools.count(2):
            if not target.exists():
                break
            again = hashlib.sha256(f"{record['fingerprint']} {number}".encode()).hexdigest()
            target = self.root / f"set-{again[:12]}"
        replace_json(self.folder / "set.json", record | {"id": target.name})
        self._forget_journal()
        os.rename(self.folder, target)
        (target / "lock").unlink(missing_ok=True)  # not before: nobody is to take it for left alone
        sync_folder(self.root)
        self.close()
        return target

    def _sets_of(self, fingerprint: str) -> dict[Path, dict[str, Any]]:
        """The sets that have these very images, the oldest first, each with its record."""
        found = {folder: read_json(folder / "set.json") or {} for folder in self.root.glob("set-*")}
        same = [item for item in found.items() if item[1].get("fingerprint") == fingerprint]
        return dict(sorted(same, key=lambda item: (str(item[1].get("made")), item[0].name)))

    def _forget_journal(self) -> None:
        (self.folder / "journal.jsonl").unlink(missing_ok=True)
        sync_folder(self.folder)

    def _note(self, entry: list[object]) -> None:
        self._pending.append(json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
        if time.monotonic() - self._checkpointed >= CHECKPOINT_S:
            self.check_room(0)
            self.checkpoint()

    def _pixels_path(self, channels: int) -> Path:
        return self.folder / f"pixels-{channels}.part"

    def _open_pixels(self) -> None:
        """Open the pixels and cut off what the journal does not name; where less is there than it names, start anew."""
        finished = self.folder / "pixels.npy"
        for part in self.folder.glob("*.widening"):
            part.unlink()
        if finished.exists():
            with finished.open("rb") as file:
                np.lib.format.read_magic(file)
                shape = np.lib.format.read_array_header_1_0(file)[0]
            os.replace(finished, self._pixels_path(shape[3]))
        self.channels = 3 if self._pixels_path(3).exists() else 1
        if self.channels == 3:
            self._pixels_path(1).unlink(missing_ok=True)
        self._pixels = os.open(self._pixels_path(self.channels), os.O_RDWR | os.O_CREAT, 0o600)
        wanted = HEAD + self.taken * self.side**2 * self.channels
        size = os.fstat(self._pixels).st_size
        if size < wanted:
            os.ftruncate(self._journal, 0)
            self.taken, self.left, wanted = 0, 0, HEAD
        os.ftruncate(self._pixels, wanted)

    def _widen(self) -> None:
        """From one channel to three, once: the first coloured image has come."""
        self.checkpoint()
        count = os.fstat(self._pixels).st_size - HEAD
        self.check_room(3 * count)
        temporary = self._pixels_path(3).with_suffix(".widening")
        wide = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(wide, HEAD)
            for start in range(0, count, CHUNK):
                grey = np.frombuffer(os.pread(self._pixels, min(CHUNK, count - start), HEAD + start), np.uint8)
                write_all(wide, np.repeat(grey, 3).data)
            os.fsync(wide)
        finally:
            os.close(wide)
        os.replace(temporary, self._pixels_path(3))
        os.close(self._pixels)
        self._pixels_path(1).unlink()
        self.channels = 3
        self._pixels = os.open(self._pixels_path(3), os.O_RDWR)

    def _cut_journal(self) -> None:
        """Remove a torn last line."""
        data = (self.folder / "journal.jsonl").read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._journal, whole)

    def _entries(self) -> Iterator[list[Any]]:
        with (self.folder / "journal.jsonl").open(encoding="ascii") as file:
            for line in file:
                yield json.loads(line)

    def _counts(self) -> tuple[int, int]:
        kinds = Counter(entry[0] for entry in self._entries())
        return kinds[TAKEN], kinds[LEFT]

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, list[int]]]:
        """The index and what was left out, as pandas tables, and the rows of which each remark is made."""
        import pandas as pd

        taken: list[list[object]] = []
        left: list[list[str]] = []
        remarks: dict[str, list[int]] = {}
        for entry in self._entries():
            if entry[0] == LEFT:
                left.append(entry[1:])
                continue
            taken.append(entry[1 : 1 + len(INDEX)])
            for remark in entry[1 + len(INDEX) :]:
                remarks.setdefault(remark, []).append(entry[1])
        index = pd.DataFrame(taken, columns=list(INDEX))
        kinds = {"row": "int64", "fold": "Int64", "width": "int64", "height": "int64"}
        index = index.astype({name: kinds.get(name, "string") for name in INDEX})
        return index, pd.DataFrame(left, columns=["file", "reason"]).astype("string"), remarks

    def _close_files(self) -> None:
        if self._journal >= 0:
            os.close(self._journal)
            os.close(self._pixels)
            self._journal = self._pixels = -1


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A pandas table as a Parquet file that only its owner may read."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    replace_file(path, buffer.getvalue())


def npy_head(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    """The first 128 bytes of a .npy file, of bytes unless of another kind."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    head = file.getvalue()
    if len(head) != HEAD:
        raise AssertionError(f"numpy writes {len(head)} bytes before an array, not {HEAD}")
    return head


def is_same_import(there: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether two sets of the same images come from one import done twice: of one source, under one title."""
    whence = [tuple((each.get("source") or {}).get(name) for name in ("key", "path")) for each in (there, record)]
    return whence[0] == whence[1] and there.get("title") == record["title"]


def renew_record(folder: Path, anew: Path, there: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Tell of a set what its import, done again, says now: what was left out, notes, options."""
    os.replace(anew / "left_out.parquet", folder / "left_out.parquet")
    shared = [note for note in there.get("notes", ()) if note.startswith(SAME_IMAGES)]
    told = {name: record[name] for name in ("source", "options", "counts", "one_colour")}
    replace_json(folder / "set.json", {**there, **told, "notes": [*shared, *record["notes"]]})


def share_arrays(first: Path, folder: Path) -> None:
    """Let a set's arrays be the files of another that has the same ones; where the disk knows no links, they stay."""
    for path in array_files(folder):
        temporary = path.with_suffix(".shared")
        with contextlib.suppress(OSError):
            os.link(first / path.name, temporary)
            os.replace(temporary, path)


def order_of_classes(found: list[str]) -> str:
    """How a new set numbers its classes: naturally, which is "found" where the rows bring them so."""
    return "found" if found == sorted(found, key=natural_key) else "natural"


def unlink_shared_arrays(folder: Path) -> None:
    """Of a set in the making, let go of arrays that are another set's, too: nobody is to write to those."""
    for path in (folder / "pixels.npy", folder / "vectors.npy"):
        if path.exists() and path.stat().st_nlink > 1:
            path.unlink()
