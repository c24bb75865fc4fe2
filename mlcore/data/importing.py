"""People's own images into the data root: every image decoded once, made square, and kept for training."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlcore.data.decoders import Decoders
from mlcore.data.decoding import Box, DecodedImage, Fit
from mlcore.data.image_set_writer import SetWriter
from mlcore.data.sources import SOURCES, ImageEntry, Reading, SkippedEntry, Source, source_for, source_readings
from mlcore.data.sources.refused_places import refusing_the_fruitless
from mlcore.data.sources.safe_folder import resolve_allowed
from mlcore.data.store import data_root, set_of_state
from mlcore.data.unfinished_imports import work_folder
from mlcore.disk.atomic import make_folders, read_json, replace_json

BATCH_BYTES = 4 * 2**20  # of pixels in a batch, and of the files that a decoder gets at once, but for a larger one
MOST_IN_BATCH = 32
READERS = 2  # threads that read files while all decoders are busy
SIDES = (8, 512)
USUAL_SIDE = 160
LOOK_AT = 100  # images, or fewer than twice as many, whose sizes tell the side of a set, where none is asked for
TELL_EVERY_S = WAIT_S = 0.2
MANY = 100_000  # images, above which a person is asked
MEASURED_S = 3.0  # of reading, before that: how long the rest will take is told by it

Made = TypeVar("Made")  # what decoders make of an image
Progress = Callable[[int, int | None, float | None], None]  # done, total, seconds left
Cancelled = Callable[[], bool]
Listener = Callable[[list[Reading]], None]


@dataclass(frozen=True)
class Ahead:
    """What is left of an import: images, seconds at the speed measured so far, bytes that they take on the disk."""

    images: int
    seconds: float
    bytes: int

    def in_words(self) -> str:
        hours, minutes = self.seconds / 3600, self.seconds / 60
        time = f"{hours:.1f} hours" if hours >= 2 else f"{minutes:.0f} minutes" if minutes >= 2 else "a minute"
        return (
            f"{self.images:,} images are still to be read: about {time}, and {self.bytes / 2**30:,.1f} GB on the disk"
        )


Ask = Callable[[Ahead], None]  # raises to stop the import; what was read stays


class ImportStopped(Exception):
    """An import was cancelled. What was read so far is kept, and the same import goes on from there."""


def import_path(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    knobs: Mapping[str, object] | None = None,
    title: str | None = None,
    root: Path | None = None,
    side: int | None = None,
    fit: Fit = "crop",
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    listener: Listener | None = None,
    ask: Ask | None = None,
    as_it_is: bool = False,
) -> Path:
    """The folder of the set that the images at a path make, imported if it is not there or the images have changed.

    `source` is a key of SOURCES with its `knobs`; None takes what the path looks like. `as_it_is` is content with a set
    of other options, the newest. See `import_set`.
    """
    key, opened_source = source_for(path, source, **(knobs or {}))
    real = resolve_allowed(path)
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
        listener=listener,
        ask=ask,
        as_it_is=as_it_is,
        any_title=title is None,
    )


def import_set(
    source: Source,
    title: str,
    root: Path,
    *,
    side: int | None = None,
    fit: Fit = "crop",
    made_from: Mapping[str, object] | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    listener: Listener | None = None,
    ask: Ask | None = None,
    as_it_is: bool = False,
    any_title: bool = False,
) -> Path:
    """Read every image of a source and make a set of them under `root`; returns the set's folder.

    An image that cannot be used is left out with its reason; it never ends the import, whatever it does to its decoder,
    for that is a process of its own (see `Decoders`). The same source, unchanged and with the same options and title
    (unless `any_title` will do), is not imported twice; an import that was stopped, by whatever, goes on where it was.
    `side` None is 160 px, or less where a hundred images, spread over all, are smaller. `progress(done, total,
    seconds_left)` and `cancelled()` are called several times a second; while the source is listed, total is None
    and done counts what it has named.
    `listener` is told, before an image is read, what the source made out by itself; the set's notes say it too.
    `ask` is told of very many images once the first have been read, and raises if they are not to be imported.

    Raises: ImportStopped after a cancel; ValueError if there is no usable image, an option is not understood, the set
    is being imported by another process, or no decoder can be started; DiskFull before the disk is full.
    """
    check_options(side, fit)
    clock = ProgressReporter(progress, cancelled)
    options = {"side": side, "fit": fit}
    facts = {"key": "", "path": "", "knobs": {}, **(made_from or {})}
    total, state = count_and_digest(source, [facts["key"], facts["knobs"], facts["path"]], clock)
    facts["state"] = state
    readings = source_readings(source)
    if listener is not None and readings:
        listener(readings)
    there = set_of_state(root, state, None if as_it_is else options, None if any_title else title)
    if there is not None:
        clock.tell(total, total, always=True)
        return there
    make_folders(root)
    with Decoders() as decoders:
        chosen = side or fitting_side(source, fit, total, decoders)
        name = hashlib.sha256(repr((state, options)).encode()).hexdigest()
        forget_older(root, facts, name)
        with SetWriter(root, name, chosen) as writer:
            there = set_of_state(root, state, None if as_it_is else options, None if any_title else title)
            if there is not None:  # another process has ended the same import meanwhile
                writer.discard()
                return there
            replace_json(writer.folder / "plan.json", facts | {"title": title, "options": options})
            writer.check_room((total - writer.done) * chosen**2 * writer.channels)
            fill_set(writer, source, total, fit, decoders, clock, ask if total - writer.done > MANY else None)
            (writer.folder / "plan.json").unlink(missing_ok=True)
            vectors_of = getattr(source, "vectors_of", None)
            options |= {"side": chosen, "asked_side": side}
            told = [reading.text for reading in readings]
            folder = writer.finish(title, facts, options, vectors_of=vectors_of, readings=told)
    clock.tell(total, total, always=True)
    return folder


def fill_set(
    writer: SetWriter,
    source: Source,
    total: int,
    fit: Fit,
    decoders: Decoders,
    clock: ProgressReporter,
    ask: Ask | None,
) -> None:
    """Into the set what it does not have yet of the source; `ask` is told once how much that is."""
    clock.begin(writer.done)

    def tell() -> None:
        clock.tell(writer.done, total)

    with contextlib.closing(decode_in_order(source, writer.done, writer.side, fit, decoders, tell)) as made:
        for outcome in made:
            add_outcome(writer, outcome)
            tell()
            seconds_left = clock.seconds_left(writer.done, total)
            if ask is not None and seconds_left is not None and clock.seconds() >= MEASURED_S:
                left = total - writer.done
                ask(Ahead(left, seconds_left, left * writer.side**2 * writer.channels))
                ask = None
                clock.begin(writer.done)


def add_outcome(writer: SetWriter, outcome: tuple[ImageEntry, DecodedImage] | SkippedEntry) -> None:
    if isinstance(outcome, SkippedEntry):
        writer.leave_out(outcome)
        return
    found, image = outcome
    writer.add(found, image.pixels, image.width, image.height, image.mode, image.hash, remarks=image.remarks)


def check_options(side: int | None, fit: str) -> None:
    if side is not None and (isinstance(side, bool) or not isinstance(side, int) or not SIDES[0] <= side <= SIDES[1]):
        raise ValueError(f"import: side must be a whole number between {SIDES[0]} and {SIDES[1]} px; got {side!r}.")
    if fit not in ("crop", "pad"):
        raise ValueError(f"import: fit must be 'crop' or 'pad'; got {fit!r}.")


def count_and_digest(source: Source, how: list[object], clock: ProgressReporter) -> tuple[int, str]:
    """How many things a source names, and a digest of them all, which changes when one of its files does."""
    digest, total = hashlib.sha256(repr(how).encode()), 0
    for item in refusing_the_fruitless(source.find(), str(how[-1])):
        stamp = source.stamp(item.file) if isinstance(item, ImageEntry) else ""
        digest.update(f"{item!r}{stamp}\n".encode(errors="surrogateescape"))
        total += 1
        clock.tell(total, None)
    return total, digest.hexdigest()


def fitting_side(source: Source, fit: Fit, total: int, decoders: Decoders) -> int:
    """The usual side, or the largest that some images, spread over all, need where they are all smaller."""
    looked_at = list(itertools.islice(source.find(), 0, None, max(1, total // LOOK_AT)))
    sides = []
    for outcome in read_batch(source, looked_at, decoders.sizes):
        if isinstance(outcome, SkippedEntry):
            continue
        found, size = outcome
        if found.box is not None:
            size = size_in_box(found.box, size)
        if min(size) > 0:
            sides.append(min(size) if fit == "crop" else max(size))
    return min(USUAL_SIDE, max(SIDES[0], *sides)) if sides else USUAL_SIDE


def size_in_box(box: Box, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of what a box has of an image of this size; 0 where it lies outside."""
    left, top, right, bottom = box
    return max(0, min(right, size[0]) - left), max(0, min(bottom, size[1]) - top)


def decode_in_order(
    source: Source, skip: int, side: int, fit: Fit, decoders: Decoders, meanwhile: Callable[[], None]
) -> Generator[tuple[ImageEntry, DecodedImage] | SkippedEntry, None, None]:
    """Everything a source names after the first `skip`, decoded in a few processes, in the source's order.

    Threads read the files and wait for the decoders, which are closed at the end. At most a few batches are held at a
    time. `meanwhile` is called again and again while none is ready.
    """
    workers = decoders.count + READERS
    count = min(MOST_IN_BATCH, max(1, BATCH_BYTES // (3 * side**2)))

    def decoded(images: Sequence[tuple[bytes, Box | None]]) -> list[DecodedImage | str]:
        return decoders.decode(images, side, fit)

    items = itertools.islice(source.find(), skip, None)
    waiting: deque[Future[list[tuple[ImageEntry, DecodedImage] | SkippedEntry]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="import")
    try:
        while batch := list(itertools.islice(items, count)):
            waiting.append(pool.submit(read_batch, source, batch, decoded))
            if len(waiting) > workers + READERS:
                yield from wait_for_result(waiting.popleft(), meanwhile)
        while waiting:
            yield from wait_for_result(waiting.popleft(), meanwhile)
    finally:
        decoders.close()
        pool.shutdown(cancel_futures=True)


def wait_for_result(future: Future[Made], meanwhile: Callable[[], None]) -> Made:
    while not future.done():
        wait([future], WAIT_S)
        meanwhile()
    return future.result()


def read_batch(
    source: Source,
    batch: Sequence[ImageEntry | SkippedEntry],
    ask: Callable[[Sequence[tuple[bytes, Box | None]]], list[Made | str]],
) -> list[tuple[ImageEntry, Made] | SkippedEntry]:
    """Each image with what `ask` makes of its bytes, given a few megabytes at a time, or why it is left out."""
    outcomes: dict[int, tuple[ImageEntry, Made] | SkippedEntry] = {}
    waiting: list[tuple[int, ImageEntry, bytes]] = []

    def ask_now() -> None:
        answers = ask([(data, found.box) for _, found, data in waiting])
        for (place, found, _), answer in zip(waiting, answers, strict=True):
            outcomes[place] = SkippedEntry(found.file, answer) if isinstance(answer, str) else (found, answer)
        waiting.clear()

    for place, item in enumerate(batch):
        if isinstance(item, SkippedEntry):
            outcomes[place] = item
            continue
        read = read_one(source, item)
        if isinstance(read, SkippedEntry):
            outcomes[place] = read
            continue
        waiting.append((place, item, read))
        if sum(len(data) for _, _, data in waiting) >= BATCH_BYTES:
            ask_now()
    if waiting:
        ask_now()
    return [outcomes[place] for place in range(len(batch))]


def read_one(source: Source, found: ImageEntry) -> bytes | SkippedEntry:
    """The bytes of an image, or why it is left out."""
    try:
        return source.open(found.file)
    except ValueError as error:
        return SkippedEntry(found.file, str(error))
    except MemoryError:
        return SkippedEntry(found.file, "It takes more memory than there is.")


def forget_older(root: Path, facts: Mapping[str, object], name: str) -> None:
    """Remove what was begun of the same source before its files changed."""
    for folder in root.glob(".import-*"):
        begun = read_json(folder / "plan.json")
        changed = begun is not None and begun["path"] == facts["path"] and begun["state"] != facts["state"]
        if changed and facts["path"] and folder != work_folder(root, name):
            shutil.rmtree(folder, ignore_errors=True)


class ProgressReporter:
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
            self.progress(done, total, None if total is None else self.seconds_left(done, total))

    def seconds(self) -> float:
        return max(time.monotonic() - self.began, 1e-6)

    def seconds_left(self, done: int, total: int) -> float | None:
        """By the speed since `begin`; None where nothing has been done since."""
        return (total - done) * self.seconds() / (done - self.before) if done > self.before else None
