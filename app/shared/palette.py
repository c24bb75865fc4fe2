"""Class colours: one class, one colour, on every page, in every run and on both grounds.

Up to 10 classes: a list for each ground whose colours stay apart with protanopia and deuteranopia, too (found by a
search over OKLCH with the simulation of Machado, Oliveira and Fernandes, 2009; the test measures it). Up to
24: eight hues on three lightness levels, so that two neighbours in the list differ in lightness as well as hue. Beyond
that the label's own hash picks one of 48 colours: classes then share colours, and the names on the map, hover or the
legend tell them apart. Colours are made in OKLCH (B. Ottosson, 2020) and kept readable on the ground they lie on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

GROUNDS = {"light": "#ffffff", "dark": "#0e1117"}
LEAST_CONTRAST = 2.2  # of a filled point against its ground, as WCAG's ratio

_FEW = {
    "light": (
        "#5471f5", "#e69d12", "#47025e", "#8b3906", "#73b1ff", "#bb6802", "#252fb1", "#5c0300", "#a25281", "#da7d9b",
    ),
    "dark": (
        "#56a0fc", "#f2e309", "#9b2014", "#22fcfd", "#83297e", "#cb5a1a", "#6b55df", "#f6922e", "#0ac9b1", "#0f9293",
    ),
}  # fmt: skip
_LEVELS = {"light": (0.43, 0.58, 0.72), "dark": (0.56, 0.72, 0.88)}
_MANY_LEVELS = {"light": (0.42, 0.52, 0.62, 0.72), "dark": (0.58, 0.67, 0.76, 0.86)}
_HUES = 8
_MANY_HUES = 12
_CHROMA = 0.17


def class_colours(names: Sequence[str], theme: str = "light") -> list[str]:
    """Colours of the classes `names` (the data set's whole list, in its own order) as `#rrggbb` for `theme` light or
    dark."""
    if theme not in GROUNDS:
        raise ValueError(f"class_colours: theme must be light or dark; got {theme!r}; pass the page's theme type.")
    if len(names) <= len(_FEW[theme]):
        return list(_FEW[theme][: len(names)])
    if len(names) <= _HUES * len(_LEVELS[theme]):
        return [_stepped(position, theme) for position in range(len(names))]
    return [_hashed(name, theme) for name in names]


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two `#rrggbb` colours, from 1 to 21."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """`#rrggbb` of an OKLCH colour, hue in radians; chroma is lowered until the colour fits into sRGB."""
    while True:
        linear = _oklab_to_linear(lightness, chroma * math.cos(hue), chroma * math.sin(hue))
        if chroma <= 0 or all(-1e-4 <= channel <= 1 + 1e-4 for channel in linear):
            return "#" + "".join(f"{round(255 * _encode(min(1.0, max(0.0, channel)))):02x}" for channel in linear)
        chroma -= 0.005


def _stepped(position: int, theme: str) -> str:
    levels = _LEVELS[theme]
    # 3 and 8 share no factor: lightness and hue both change from one class to the next, and no pair repeats within 24
    level = position % len(levels)
    hue = position * 3 % _HUES + level / len(levels)  # each level has hues of its own, between those of the others
    return oklch(levels[level], _CHROMA, 0.4 + math.tau * hue / _HUES)


def _hashed(name: str, theme: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    levels = _MANY_LEVELS[theme]
    return oklch(levels[digest[1] % len(levels)], _CHROMA, 0.2 + math.tau * (digest[0] % _MANY_HUES) / _MANY_HUES)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    red, green, blue = (_decode(channel / 255) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _decode(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _encode(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _oklab_to_linear(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
