"""What a source of images says of each thing in it: taken, or left out and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """One image that a source names.

    `file` is its path inside the source, parts separated by '/', as text: a name to show and to ask the source for,
    never a path to open. `split` is train, test, val, query or gallery; `box` is left, top, right, bottom in pixels.
    """

    file: str
    label: str
    parent: str | None = None
    split: str | None = None
    fold: int | None = None
    box: tuple[int, int, int, int] | None = None
    text: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """One thing that a source names and that is not taken, with its reason in a sentence."""

    file: str
    reason: str
