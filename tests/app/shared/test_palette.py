"""Class colours: stable, told apart, readable on both grounds."""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from app.shared.palette import GROUNDS, LEAST_CONTRAST, class_colours, contrast, oklch

ROOT = Path(__file__).resolve().parents[3]
THEMES = ("light", "dark")


def names(count: int) -> list[str]:
    return [f"class {k}" for k in range(count)]


def distance(one: str, other: str) -> float:
    """Euclidean distance of two colours in sRGB, 0..441."""
    return math.dist(*([int(text[k : k + 2], 16) for k in (1, 3, 5)] for text in (one, other)))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("count", [1, 10, 11, 24, 25, 200])
def test_every_class_has_one_readable_colour(theme: str, count: int) -> None:
    colours = class_colours(names(count), theme)
    assert len(colours) == count
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)
    assert min(contrast(colour, GROUNDS[theme]) for colour in colours) >= LEAST_CONTRAST


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("count", "apart"), [(10, 50), (24, 34)])
def test_up_to_24_classes_no_two_colours_are_alike(theme: str, count: int, apart: float) -> None:
    colours = class_colours(names(count), theme)
    assert min(distance(one, other) for one, other in itertools.combinations(colours, 2)) >= apart


# Linear sRGB as a protanope and a deuteranope see it: Machado, Oliveira and Fernandes (2009), severity 1.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def oklab(colours: list[str], sight: np.ndarray) -> np.ndarray:
    """What is seen of the colours, (N, 3) in OKLab."""
    shares = np.array([[int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)] for colour in colours])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    cones = np.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
    axes = np.array([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])
    return np.cbrt(np.clip(linear @ sight.T, 0, 1) @ cones.T) @ axes.T


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHT)
def test_ten_classes_are_told_apart_by_those_who_do_not_see_red_from_green(theme: str, sight: str) -> None:
    seen = oklab(class_colours(names(10), theme), SIGHT[sight])
    apart = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]
    assert min(apart) > 0.13  # about 0.02 is just noticed


def test_neighbours_in_the_list_differ_in_lightness() -> None:
    colours = class_colours(names(24))
    steps = [contrast(one, other) for one, other in itertools.pairwise(colours)]
    assert min(steps) > 1.4


def test_a_short_list_keeps_its_colours_when_it_grows_within_its_palette() -> None:
    assert class_colours(names(10))[:3] == class_colours(names(3))
    assert class_colours(names(24))[:11] == class_colours(names(11))


@pytest.mark.parametrize("theme", THEMES)
def test_beyond_24_a_class_keeps_its_colour_wherever_it_stands(theme: str) -> None:
    listed = names(62)
    forward = dict(zip(listed, class_colours(listed, theme), strict=True))
    backward = dict(zip(listed[::-1], class_colours(listed[::-1], theme), strict=True))
    assert forward == backward
    assert len(set(forward.values())) >= 30
    assert forward["class 7"] == {"light": "#841067", "dark": "#ba4997"}[theme]


def test_the_theme_must_be_known() -> None:
    with pytest.raises(ValueError, match="light or dark; got 'blue'"):
        class_colours(["a"], "blue")


def test_oklch_gives_known_colours() -> None:
    # OKLCH of pure sRGB red is (0.6279554, 0.2576833, 29.23388 deg), of white (1, 0, any); CSS Color 4
    assert oklch(0.6279554, 0.2576833, math.radians(29.23388)) == "#ff0000"
    assert oklch(1.0, 0.0, 0.0) == "#ffffff"


def test_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def words_on_buttons() -> dict[str, str]:
    """The colour of the words on a primary button, as the page's style gives it for a light and a dark ground."""
    style = (ROOT / "app" / "page.css").read_text(encoding="utf-8")
    return dict(
        zip(THEMES, re.findall(r"stBaseButton-primary.*?light-dark\((#\w+), (#\w+)\)", style, re.S)[0], strict=True)
    )


@pytest.mark.parametrize("theme", THEMES)
def test_the_main_colour_can_be_read_on_the_page_and_under_the_words_of_a_button(theme: str) -> None:
    config = tomllib.loads((ROOT / "app" / ".streamlit" / "config.toml").read_text())["theme"][theme]
    assert contrast(config["primaryColor"], config["backgroundColor"]) >= 4.5
    assert contrast(config["primaryColor"], words_on_buttons()[theme]) >= 4.5
