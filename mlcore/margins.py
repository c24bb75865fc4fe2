"""How a loss's margin is drawn into a histogram of angles."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

AngleKind = Literal["proxies", "pairs"]
MarginKind = Literal["fixed", "angle", "cosine", "distance"]
LineRecord = dict[str, str | float]  # the fields of a MarginLine by name


@dataclass(frozen=True)
class MarginLine:
    """One line in an angle histogram.

    `between` says which angles: those of embeddings to their own class proxy ("proxies") or those of positive
    pairs ("pairs"). `kind` says what `value` is: "fixed", the line's angle in radians; "angle" (radians), "cosine" or
    "distance" (of unit vectors), what is added to the median of those angles in that measure.

    Raises: ValueError for another `between` or `kind`.
    """

    text: str
    between: AngleKind
    kind: MarginKind
    value: float

    def __post_init__(self) -> None:
        if self.between not in get_args(AngleKind):
            raise ValueError(f"MarginLine: between must be 'proxies' or 'pairs'; got {self.between!r}.")
        if self.kind not in get_args(MarginKind):
            raise ValueError(f"MarginLine: kind must be one of {', '.join(get_args(MarginKind))}; got {self.kind!r}.")

    def record(self) -> LineRecord:
        return asdict(self)

    def place(self, median_angle: float) -> float:
        """The line's angle in radians, in [0, pi], given the median angle (radians)."""
        if self.kind == "fixed":
            angle = self.value
        elif self.kind == "angle":
            angle = median_angle + self.value
        elif self.kind == "cosine":
            angle = angle_of_cosine(math.cos(median_angle) - self.value)
        else:
            angle = angle_of_distance(2.0 * math.sin(median_angle / 2.0) + self.value)
        return min(max(angle, 0.0), math.pi)


@runtime_checkable
class DrawsMargins(Protocol):
    """A loss that says where its margin lies."""

    def margin_lines(self) -> tuple[MarginLine, ...]: ...


def angle_of_cosine(cosine: float) -> float:
    """Radians; a cosine outside [-1, 1] gives the nearest end."""
    return math.acos(min(max(cosine, -1.0), 1.0))


def angle_of_distance(distance: float) -> float:
    """Radians between two unit vectors `distance` apart; a distance outside [0, 2] gives the nearest end."""
    return 2.0 * math.asin(min(max(distance / 2.0, 0.0), 1.0))
