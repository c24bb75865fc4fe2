"""What a backbone expects of its images, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputFormat:
    """How pixels of 0..255 become a backbone's input: resized to `side`, then scaled to 0..1, then (x - mean) / std.

    `side` is one number for a square or (height, width), px; `channels` is 1 (grey) or 3 (RGB), and `mean` and
    `std` have one number per channel.
    """

    side: int | tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return (self.side, self.side) if isinstance(self.side, int) else self.side

    @staticmethod
    def half(image_size: tuple[int, int], channels: int) -> InputFormat:
        """Images of their own size with 0..255 spread over -1..1."""
        return InputFormat(as_side(image_size), channels, (0.5,) * channels, (0.5,) * channels)


def as_side(size: tuple[int, int]) -> int | tuple[int, int]:
    """One number for a square."""
    height, width = size
    return height if height == width else (height, width)


def scaled_size(image_size: tuple[int, int], side: int | None, at_least: int) -> tuple[int, int]:
    """Height and width whose shorter one is `side`; None keeps the images' own size, but at least `at_least`, px."""
    shorter = min(image_size)
    target = max(shorter, at_least) if side is None else side
    height, width = (max(1, round(length * target / shorter)) for length in image_size)
    return height, width
