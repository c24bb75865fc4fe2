"""Where the search of a run fails, as four lists: what is in them, how a line is shown, and a table of all lines."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import streamlit as st

from app.lab.snapshots import WatchSample
from app.shared.text import count, escape_markdown, format_change, format_share, one_line
from app.shared.view import Side
from app.widgets.tiles import Row, Strip, Tile
from mlcore.analysis.failures import DoubtedLabel, SideSearch, doubt_labels, search_side
from mlcore.disk.spreadsheet import escape_word

PICTURES = 6
PAIRS = 4
COLUMNS = ("list", "rank", "class", "other class", "image id", "image name", "value", "before")
ListName = Literal["classes", "pairs", "hardest", "labels"]


@dataclass(frozen=True, eq=False)
class Findings:
    """What the lists are made of: the search of one side at a step and at step 0 (None if that is the step), and the
    doubted labels of all watched images at both, by place in the sample."""

    sample: WatchSample
    side: Side
    now: SideSearch
    start: SideSearch | None
    doubted: dict[int, DoubtedLabel]
    doubted_at_start: dict[int, DoubtedLabel]

    @cached_property
    def confused_with(self) -> dict[int, tuple[int, float]]:
        """By class: the class that it is most often taken for, and the share."""
        found: dict[int, tuple[int, float]] = {}
        for label, other, share in self.now.confusions:
            found.setdefault(label, (other, share))
        return found

    def ids_of(self, labels: Sequence[int]) -> tuple[int, ...]:
        """The ids of all images of these classes on this side."""
        there = side_of(self.sample, self.side) & np.isin(self.sample.labels, labels)
        return tuple(self.sample.ids[there].tolist())

    def name(self, label: int) -> str:
        """A class's name, for Markdown."""
        return escape_markdown(self.sample.class_names[label], 60)

    def image(self, place: int) -> str:
        """'Image 12 (a.png)', for Markdown."""
        return f"Image {self.sample.ids[place]} ({escape_markdown(self.sample.image_names[place], 60)})"

    def tile(self, place: int, frame: Literal["right", "wrong", "query", "none"], words: str = "") -> Tile:
        told = f"{self.sample.class_names[self.sample.labels[place]]}, image {self.sample.ids[place]}"
        return Tile(int(self.sample.ids[place]), int(place), frame, f"{told}{words}")

    def found_tiles(self, place: int, nearest: Iterable[int]) -> tuple[Tile, ...]:
        """What an image finds, framed by whether it is of the image's class."""
        right = self.sample.labels == self.sample.labels[place]
        return tuple(
            self.tile(found, "right" if right[found] else "wrong", f", rank {rank}")
            for rank, found in enumerate(nearest, start=1)
            if found >= 0
        )


class Failure(NamedTuple):
    """A line of a list: its value at the step and at step 0, classes by number, an image by its place in the sample."""

    value: float
    before: float | None
    label: int
    other: int | None = None
    place: int | None = None


class FailureRow(NamedTuple):
    """A line as it is shown: `words` in Markdown, `pictures` with tiles numbered by place in the sample, and the ids
    of the images that its button selects."""

    words: str
    pictures: Row
    selects: tuple[int, ...]


@dataclass(frozen=True)
class FailureList:
    """`caption` says what is listed, `none` that nothing is; `lines` are all lines, worst first; `show` shows one."""

    title: str
    caption: str
    none: str
    lines: Callable[[Findings], list[Failure]]
    show: Callable[[Findings, Failure], FailureRow]


def side_of(sample: WatchSample, side: Side) -> np.ndarray:
    """(W,) bool: the watched images of a side."""
    return sample.held_out if side == "held_out" else ~sample.held_out


def find_failures(
    run_path: str, sample: WatchSample, now: dict[str, np.ndarray], start: dict[str, np.ndarray] | None, side: Side
) -> Findings:
    """What a search fails at, by the arrays of a snapshot and of that of step 0. What was computed once is kept.

    Raises: ValueError for embeddings that are not finite.
    """
    first = start if start is not None and np.isfinite(start["embeddings"]).all() else None
    return Findings(
        sample,
        side,
        cached_search(run_path, side, digest(now), sample, now),
        None if first is None else cached_search(run_path, side, digest(first), sample, first),
        cached_doubts(run_path, digest(now), sample, now),
        {} if first is None else cached_doubts(run_path, digest(first), sample, first),
    )


def digest(arrays: dict[str, np.ndarray]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(arrays["embeddings"]).data, digest_size=16).hexdigest()


@st.cache_resource(max_entries=24, show_spinner=False)
def cached_search(
    run_path: str, side: Side, embeddings: str, _sample: WatchSample, _arrays: dict[str, np.ndarray]
) -> SideSearch:
    """Each image of the side searches among the others; where queries search a gallery, that has no neighbours."""
    there, asks = side_of(_sample, side), _arrays["neighbours"][:, 0] >= 0
    asking, silent = np.flatnonzero(there & asks), np.flatnonzero(there & ~asks)
    if not len(asking):
        asking, silent = silent, asking
    return search_side(_arrays["embeddings"], _sample.labels, asking, silent if len(silent) else None)


@st.cache_resource(max_entries=24, show_spinner=False)
def cached_doubts(
    run_path: str, embeddings: str, _sample: WatchSample, _arrays: dict[str, np.ndarray]
) -> dict[int, DoubtedLabel]:
    return {found.row: found for found in doubt_labels(_arrays["embeddings"], _sample.labels)}


def class_lines(found: Findings) -> list[Failure]:
    before = {} if found.start is None else {score.label: score.map_at_r for score in found.start.class_scores()}
    return [
        Failure(score.map_at_r, before.get(score.label), score.label, found.confused_with.get(score.label, (None,))[0])
        for score in found.now.class_scores()
        if score.map_at_r < 1
    ]


def show_class(found: Findings, line: Failure) -> FailureRow:
    asking = found.now.queries_of(line.label)
    worst = [at for at in asking[:PICTURES] if found.now.average_precision[at] < 1]
    parts = [f"MAP@R {with_change(line)}", count(len(asking), "image")]
    if line.other is not None:
        share = found.confused_with[line.label][1]
        parts.append(f"most often taken for **{found.name(line.other)}** ({percent(share)})")
    tiles = tuple(
        found.tile(found.now.queries[at], "none", f": AP@R {format_share(found.now.average_precision[at])}")
        for at in worst
    )
    return FailureRow(f"**{found.name(line.label)}** {', '.join(parts)}", Row(tiles=tiles), found.ids_of([line.label]))


def pair_lines(found: Findings) -> list[Failure]:
    before = {} if found.start is None else {pair[:2]: pair.share for pair in found.start.confusions}
    return [
        Failure(share, before.get((label, other), 0.0) if found.start is not None else None, label, other)
        for label, other, share in found.now.confusions
    ]


def show_pair(found: Findings, line: Failure) -> FailureRow:
    assert line.other is not None, "a pair has two classes"
    name, other = found.name(line.label), found.name(line.other)
    before = "" if line.before is None else f" ({percent(line.before)} at step 0)"
    words = f"**{name}** is taken for **{other}**: {percent(line.value)} of the nearest of {name} are {other}{before}"
    strips = tuple(
        Strip(
            f"Image {found.sample.ids[place]} and the nearest {one_line(found.sample.class_names[line.other], 24)}",
            (found.tile(place, "query"), found.tile(near, "wrong")),
        )
        for place, near in found.now.closest_to(line.label, line.other, PAIRS)
    )
    return FailureRow(words, Row(strips=strips), found.ids_of([line.label, line.other]))


def hardest_lines(found: Findings) -> list[Failure]:
    before = None if found.start is None else found.start.average_precision
    order = found.now.hardest()
    return [
        Failure(
            float(found.now.average_precision[at]),
            None if before is None else float(before[at]),
            int(found.sample.labels[found.now.queries[at]]),
            first_wrong(found, at),
            int(found.now.queries[at]),
        )
        for at in order[found.now.average_precision[order] < 1]
    ]


def first_wrong(found: Findings, at: int) -> int | None:
    """The class of the nearest wrong image of a query, if one is near."""
    labels = found.sample.labels[found.now.nearest[at]]
    wrong = (labels != found.sample.labels[found.now.queries[at]]) & (found.now.nearest[at] >= 0)
    return int(labels[wrong.argmax()]) if wrong.any() else None


def show_hardest(found: Findings, line: Failure) -> FailureRow:
    assert line.place is not None, "a query is an image"
    at = int(np.searchsorted(found.now.queries, line.place))
    rank = str(found.now.first_hit[at])
    if found.start is not None and found.start.first_hit[at] != found.now.first_hit[at]:
        rank = f"{found.start.first_hit[at]} → {rank}"
    words = (
        f"{found.image(line.place)} of **{found.name(line.label)}**: AP@R {with_change(line)}, rank of the first "
        f"right one {rank}"
    )
    nearest = found.now.nearest[at][:PICTURES]
    pictures = Row(
        tiles=(found.tile(line.place, "query"),), strips=(Strip("Its nearest", found.found_tiles(line.place, nearest)),)
    )
    return FailureRow(words, pictures, ids_at(found, line.place, nearest))


def label_lines(found: Findings) -> list[Failure]:
    lines = []
    for place, doubt in found.doubted.items():
        at_start = found.doubted_at_start.get(place)
        before = at_start.agreeing / at_start.neighbours if at_start and at_start.other == doubt.other else None
        lines.append(Failure(doubt.agreeing / doubt.neighbours, before, doubt.label, doubt.other, place))
    return lines


def show_label(found: Findings, line: Failure) -> FailureRow:
    assert line.place is not None, "a doubted label is of an image"
    assert line.other is not None, "and of a class among which it lies"
    doubt = found.doubted[line.place]
    name, other = found.name(line.label), found.name(line.other)
    side = "held out" if found.sample.held_out[line.place] else "training"
    words = (
        f"{found.image(line.place)}, {side}, is called **{name}**; {doubt.agreeing} of its "
        f"{count(doubt.neighbours, 'nearest', 'nearest')} {'is' if doubt.agreeing == 1 else 'are'} **{other}**"
        f"{', at step 0 too' if line.before is not None else ''}. Is the label right?"
    )
    nearest = doubt.nearest[:PICTURES]
    pictures = Row(
        tiles=(found.tile(line.place, "query"),), strips=(Strip("Its nearest", found.found_tiles(line.place, nearest)),)
    )
    return FailureRow(words, pictures, ids_at(found, line.place, nearest))


def ids_at(found: Findings, place: int, nearest: Iterable[int]) -> tuple[int, ...]:
    places = [place, *(int(near) for near in nearest if near >= 0)]
    return tuple(sorted(found.sample.ids[places].tolist()))


def with_change(line: Failure) -> str:
    """'.310 (+.050)'."""
    change = format_change(line.value, line.before)
    return f"{format_share(line.value)} ({change})" if change else format_share(line.value)


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share == 0 or share >= 0.01 else "under 1 %"


LISTS: dict[ListName, FailureList] = {
    "classes": FailureList(
        "Worst classes",
        "MAP@R of each class, the worst first, and in brackets its change since step 0. The pictures are the images of "
        "the class with the lowest AP@R, which is the MAP@R of one image.",
        "MAP@R is 1 for every class: each image finds all others of its class first.",
        class_lines,
        show_class,
    ),
    "pairs": FailureList(
        "Confused pairs",
        "How many of the nearest of a class are of another one. The pictures are images of the class, each with the "
        "nearest image of the other.",
        "No class is taken for another one.",
        pair_lines,
        show_pair,
    ),
    "hardest": FailureList(
        "Hardest images",
        "The images with the lowest AP@R, which is the MAP@R of one image, in brackets its change since step 0, and "
        "what they find first.",
        "AP@R is 1 for every image: each finds all others of its class first.",
        hardest_lines,
        show_hardest,
    ),
    "labels": FailureList(
        "Likely wrong labels",
        "Images whose nearest are nearly all of one other class, among all watched images, training and held out. "
        "After a long training even wrong labels are learned, so look at an early step too.",
        "No image has neighbours that are nearly all of one other class.",
        label_lines,
        show_label,
    ),
}


def list_csv(sample: WatchSample, name: ListName, lines: Sequence[Failure]) -> str:
    """All lines as a CSV table, a header first; a spreadsheet takes no word of it for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, line in enumerate(lines, start=1):
        image = (
            ("", "") if line.place is None else (sample.ids[line.place], escape_word(sample.image_names[line.place]))
        )
        other = "" if line.other is None else escape_word(sample.class_names[line.other])
        before = "" if line.before is None else f"{line.before:.4f}"
        title = LISTS[name].title
        writer.writerow(
            [title, rank, escape_word(sample.class_names[line.label]), other, *image, f"{line.value:.4f}", before]
        )
    return file.getvalue()


def reason_for_nothing(found: Findings, name: ListName) -> str:
    """Why a list is empty, in words."""
    if name == "labels":
        return LISTS[name].none
    if not len(found.now.queries):
        if not len(found.now.lone):
            return "No watched image is on this side."
        return "Each class has only one watched image on this side. A search needs two of a class."
    if len(np.unique(found.sample.labels[found.now.gallery])) == 1:
        return "All watched images on this side are of one class, so no wrong one can be found."
    return LISTS[name].none
