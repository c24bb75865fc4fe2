"""The order in which people expect names: 1, 2, 10, and img2 before img10."""

from __future__ import annotations

import re

NUMBER = re.compile(r"([0-9]+)")


def natural_key(text: str) -> tuple[tuple[object, ...], str]:
    """What to sort names by: numbers in them by their value, the rest letter by letter; never equal for two names."""
    parts = NUMBER.split(text)
    return tuple(number_key(part) if place % 2 else part for place, part in enumerate(parts)), text


def number_key(digits: str) -> tuple[int, str]:
    """A number of any length, without making it one."""
    value = digits.lstrip("0")
    return len(value), value


def path_key(name: str) -> tuple[object, ...]:
    """What to sort files by: folder by folder, each name naturally."""
    return tuple(natural_key(part) for part in name.split("/"))
