"""What a backbone expects of its images, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputFormat:
    """How pixels of 0..255 become a backbone's input: resized to `side`, then scaled to 0..1, then (x - mean) / std.

    `side` is one number for a square or (height, width), px; `channels` is 1 (grey) or 3 (RGB), and `mean` and
    `std` have one number per channel. `crop`: the share of each side that is kept, from the middle, of images that are
    resized to so much more than `side`; `interpolation`: how they are resized.
    """

    side: int | tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    crop: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return (self.side, self.side) if isinstance(self.side, int) else self.side

    def adapted(self, image_size: tuple[int, int], channels: int) -> str:
        """What is done to images of a data set before the backbone sees them, in a sentence; "" for nothing."""
        height, width = self.size
        found = []
        if (height, width) != tuple(image_size) or self.crop < 1.0:
            kind = "reduced" if height * width < image_size[0] * image_size[1] else "enlarged"
            middle = "" if self.crop == 1.0 else f"; the middle {100 * self.crop:.0f} % of each side"
            before = " × ".join(map(str, image_size))
            found.append(f"{kind} from {before} px to {height} × {width} px ({self.interpolation}{middle})")
        if channels == 1 and self.channels == 3:
            found.append("shown with their grey repeated as red, green and blue")
        if channels == 3 and self.channels == 1:
            found.append("shown with their colours turned grey")
        return f"Images are {', '.join(found)}." if found else ""

    @staticmethod
    def half(image_size: tuple[int, int], channels: int) -> InputFormat:
        """Images of their own size with 0..255 spread over -1..1."""
        return InputFormat(as_side(image_size), channels, (0.5,) * channels, (0.5,) * channels)


def as_side(size: tuple[int, int]) -> int | tuple[int, int]:
    """One number for a square."""
    height, width = size
    return height if height == width else (height, width)


def scale_size(image_size: tuple[int, int], side: int | None, at_least: int) -> tuple[int, int]:
    """Height and width whose shorter one is `side`; None keeps the images' own size, but at least `at_least`, px."""
    shorter = min(image_size)
    target = max(shorter, at_least) if side is None else side
    height, width = (max(1, round(length * target / shorter)) for length in image_size)
    return height, width
