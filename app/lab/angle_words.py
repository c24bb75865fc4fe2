"""What a picture of angles says, in words: where the loss wants them, and whether typical ones are there now."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.shared.figures import ANGLE_KINDS
from mlcore.margins import AngleKind, MarginLine
from mlcore.runs.records import Angles, MarginLineRecord


def place_lines(angles: Angles, which: AngleKind, lines: Sequence[MarginLineRecord]) -> list[tuple[float, str]]:
    """The loss's lines in the picture of these angles, each as radians and its text."""
    own = angles.get("own_proxy") if which == "proxies" else angles.get("positive_pairs")
    return [
        (MarginLine(line["text"], which, line["kind"], line["value"]).place(own["median"]), line["text"])
        for line in lines
        if line["between"] == which and own
    ]


def angle_words(angles: Angles, which: AngleKind, lines: Sequence[MarginLineRecord]) -> str:
    """Where the angles should lie, and where their medians lie now.

    Only medians are compared: two histograms do not tell which image has which two angles.
    """
    if which == "proxies":
        own, other = angles.get("own_proxy"), angles.get("nearest_other_proxy")
    else:
        own, other = angles.get("positive_pairs"), angles.get("negative_pairs")
    if not own or not other:
        return ""
    (_, near, _), (_, far, _) = ANGLE_KINDS[which]
    here, there = own["median"], other["median"]
    placed = [angle for angle, _ in place_lines(angles, which, lines)]
    if not placed:
        return (
            f"Training should move “{near}” left and “{far}” right. Medians now: {degrees(here)} and {degrees(there)}."
        )
    if any(line["kind"] == "fixed" for line in lines if line["between"] == which):
        first, last = ("the dashed line",) * 2 if len(placed) == 1 else ("the first dashed line", "the last")
        inside, outside = here <= placed[0], there >= placed[-1]
        now = "both are" if inside and outside else "only the first is" if inside else "only the second is"
        return (
            f"“{near.capitalize()}” should lie left of {first}, “{far}” right of {last}. Medians now: {degrees(here)} "
            f"and {degrees(there)}: {now if inside or outside else 'neither is'}."
        )
    met = "it is met" if there > placed[0] else "it is not met yet"
    return (
        f"The margin is met where “{far}” lies right of the dashed line. Medians now: line {degrees(placed[0])}, "
        f"{far} {degrees(there)}: typically {met}."
    )


def degrees(angle: float) -> str:
    return f"{math.degrees(angle):.0f}°"
