"""What a source of images says of each thing in it: taken, or left out and why. And of itself: how it was read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageEntry:
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
class SkippedEntry:
    """One thing that a source names and that is not taken, with its reason in a sentence."""

    file: str
    reason: str


@dataclass(frozen=True)
class Reading:
    """One thing that a source made out by itself, in a sentence, and the option of `import` that says otherwise."""

    text: str
    otherwise: str = ""

    def in_words(self) -> str:
        """The sentence, and what to write to say no."""
        return f"{self.text} To read it otherwise: {self.otherwise}" if self.otherwise else self.text
