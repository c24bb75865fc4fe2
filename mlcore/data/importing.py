"""People's own images into the data root: every image decoded once, made square, and kept for training."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mlcore.data.decoding import Decoded, Fit, decode, opened
from mlcore.data.sources import SOURCES, Found, LeftOut, Source, source_for
from mlcore.data.sources.root import allowed
from mlcore.data.store import data_root, set_of_state
from mlcore.data.writing import SetWriter, work_folder
from mlcore.runs.durable import read_json, replace_json

BATCH = 32
SIDES = (8, 512)
USUAL_SIDE = 160
LOOK_AT = 100  # images, or fewer than twice as many, whose sizes tell the side of a set, where none is asked for
TELL_EVERY_S = 0.2

Progress = Callable[[int, int | None, float | None], None]  # done, total, seconds left
Cancelled = Callable[[], bool]


class ImportStopped(Exception):
    """An import was cancelled. What was read so far is kept, and the same import goes on from there."""


def import_path(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    knobs: Mapping[str, Any] | None = None,
    title: str | None = None,
    root: Path | None = None,
    side: int | None = None,
    fit: Fit = "crop",
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    as_it_is: bool = False,
) -> Path:
    """The folder of the set that the images at a path make, imported if it is not there or the images have changed.

    `source` is a key of SOURCES with its `knobs`; None takes what the path looks like. `as_it_is` is content with a set
    of other options, the newest. See `import_set`.
    """
    key, opened_source = source_for(path, source, **(knobs or {}))
    real = allowed(path)
    made_from = {"key": key, "path": str(real), "knobs": SOURCES[key].check(knobs or {})}
    return import_set(
        opened_source,
        title or real.stem or str(real),
        root or data_root(),
        side=side,
        fit=fit,
        made_from=made_from,
        progress=progress,
        cancelled=cancelled,
        as_it_is=as_it_is,
    )


def import_set(
    source: Source,
    title: str,
    root: Path,
    *,
    side: int | None = None,
    fit: Fit = "crop",
    made_from: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    as_it_is: bool = False,
) -> Path:
    """Read every image of a source and make a set of them under `root`; returns the set's folder.

    An image that cannot be used is left out with its reason; it never ends the import. The same source, unchanged and
    with the same options, is not imported twice; an import that was stopped, by whatever, goes on where it was.
    `side` None is 160 px, or less where a hundred images, spread over all, are smaller. `progress(done, total,
    seconds_left)` and `cancelled()` are called several times a second; while the source is listed, total is None.

    Raises: ImportStopped after a cancel; ValueError if there is no usable image, an option is not understood, or the
    set is being imported by another process; DiskFull before the disk is full.
    """
    check_options(side, fit)
    clock = Teller(progress, cancelled)
    options = {"side": side, "fit": fit}
    facts = {"key": "", "path": "", "knobs": {}, **(made_from or {})}
    total, state = listed(source, [facts["key"], facts["knobs"], facts["path"]], clock)
    facts["state"] = state
    there = set_of_state(root, state, None if as_it_is else options)
    if there is not None:
        clock.tell(total, total, always=True)
        return there
    root.mkdir(parents=True, exist_ok=True)
    chosen = side or fitting_side(source, fit, total)
    name = hashlib.sha256(repr((state, options)).encode()).hexdigest()
    forget_older(root, facts, name)
    with SetWriter(root, name, chosen) as writer:
        replace_json(writer.folder / "plan.json", facts)
        clock.begin(writer.done)
        writer.check_room((total - writer.done) * chosen**2 * writer.channels)
        for item, outcome in outcomes(source, writer.done, chosen, fit):
            if isinstance(outcome, LeftOut):
                writer.leave_out(outcome)
            else:
                writer.add(item, outcome.pixels, outcome.width, outcome.height, outcome.mode, outcome.hash)
            clock.tell(writer.done, total)
        (writer.folder / "plan.json").unlink(missing_ok=True)
        vectors_of = getattr(source, "vectors_of", None)
        folder = writer.finish(title, facts, options | {"side": chosen, "asked_side": side}, vectors_of=vectors_of)
    clock.tell(total, total, always=True)
    return folder


def check_options(side: int | None, fit: str) -> None:
    if side is not None and (isinstance(side, bool) or not isinstance(side, int) or not SIDES[0] <= side <= SIDES[1]):
        raise ValueError(f"import: side must be a whole number between {SIDES[0]} and {SIDES[1]} px; got {side!r}.")
    if fit not in ("crop", "pad"):
        raise ValueError(f"import: fit must be 'crop' or 'pad'; got {fit!r}.")


def listed(source: Source, how: list[Any], clock: Teller) -> tuple[int, str]:
    """How many things a source names, and a digest of them all, which changes when one of its files does."""
    digest, total = hashlib.sha256(repr(how).encode()), 0
    for item in source.find():
        stamp = source.stamp(item.file) if isinstance(item, Found) else ""
        digest.update(f"{item!r}{stamp}\n".encode(errors="surrogateescape"))
        total += 1
        clock.tell(0, None)
    return total, digest.hexdigest()


def fitting_side(source: Source, fit: Fit, total: int) -> int:
    """The usual side, or the largest that some images, spread over all, need where they are all smaller."""
    sides = []
    for item in itertools.islice(source.find(), 0, None, max(1, total // LOOK_AT)):
        if isinstance(item, LeftOut):
            continue
        try:
            size = opened(source.open(item.file)).size
        except ValueError:
            continue
        if item.box is not None:
            size = (item.box[2] - item.box[0], item.box[3] - item.box[1])
        sides.append(min(size) if fit == "crop" else max(size))
    return min(USUAL_SIDE, max(SIDES[0], *sides)) if sides else USUAL_SIDE


def outcomes(source: Source, skip: int, side: int, fit: Fit) -> Iterator[tuple[Found | LeftOut, Decoded | LeftOut]]:
    """Everything a source names after the first `skip`, decoded in a few threads, in the source's order.

    Threads serve, for reading, decoding, scaling and hashing all let go of Python's lock; and a page, which may start
    no processes, can import too. At most a few batches are held at a time.
    """
    workers = min(8, os.cpu_count() or 1)
    items = itertools.islice(source.find(), skip, None)
    waiting: deque[tuple[list[Found | LeftOut], Future]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="import")
    try:
        while batch := list(itertools.islice(items, BATCH)):
            waiting.append((batch, pool.submit(read_batch, source, batch, side, fit)))
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield from zip(first, future.result(), strict=True)
        while waiting:
            first, future = waiting.popleft()
            yield from zip(first, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def read_batch(source: Source, batch: list[Found | LeftOut], side: int, fit: Fit) -> list[Decoded | LeftOut]:
    return [item if isinstance(item, LeftOut) else read_one(source, item, side, fit) for item in batch]


def read_one(source: Source, found: Found, side: int, fit: Fit) -> Decoded | LeftOut:
    """The image, or why it is left out."""
    try:
        return decode(source.open(found.file), side, fit, found.box)
    except ValueError as error:
        return LeftOut(found.file, str(error))
    except MemoryError:
        return LeftOut(found.file, "It takes more memory than there is.")


def forget_older(root: Path, facts: Mapping[str, Any], name: str) -> None:
    """Remove what was begun of the same source before its files changed."""
    for folder in root.glob(".import-*"):
        begun = read_json(folder / "plan.json")
        changed = begun is not None and begun["path"] == facts["path"] and begun["state"] != facts["state"]
        if changed and facts["path"] and folder != work_folder(root, name):
            shutil.rmtree(folder, ignore_errors=True)


class Teller:
    """Says how far an import is and asks whether to go on, a few times a second."""

    def __init__(self, progress: Progress | None, cancelled: Cancelled | None) -> None:
        self.progress, self.cancelled = progress, cancelled
        self.told = 0.0
        self.begin(0)

    def begin(self, done: int) -> None:
        """Speed is measured from here."""
        self.began, self.before = time.monotonic(), done

    def tell(self, done: int, total: int | None, *, always: bool = False) -> None:
        """Raises: ImportStopped if the import was cancelled."""
        now = time.monotonic()
        if not always and now - self.told < TELL_EVERY_S:
            return
        self.told = now
        if self.cancelled is not None and not always and self.cancelled():
            raise ImportStopped("The import was cancelled. What was read is kept; import again to go on.")
        if self.progress is not None:
            speed = (done - self.before) / max(now - self.began, 1e-6)
            left = (total - done) / speed if total is not None and speed > 0 else None
            self.progress(done, total, left)
