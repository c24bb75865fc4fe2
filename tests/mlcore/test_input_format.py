"""Sizes of a network's input."""

import pytest

from mlcore.input_format import InputFormat, as_side, scale_size


@pytest.mark.parametrize(
    ("image_size", "side", "expected"),
    [
        ((8, 8), None, (32, 32)),
        ((40, 40), None, (40, 40)),
        ((40, 40), 96, (96, 96)),
        ((20, 30), None, (32, 48)),
        ((200, 100), 50, (100, 50)),
    ],
)
def test_shorter_side_is_as_asked_and_the_shape_is_kept(image_size, side, expected):
    assert scale_size(image_size, side, at_least=32) == expected


def test_square_is_one_number():
    assert as_side((40, 40)) == 40
    assert as_side((40, 60)) == (40, 60)


@pytest.mark.parametrize(("side", "size"), [(40, (40, 40)), ((40, 60), (40, 60))])
def test_size_is_height_and_width(side, size):
    assert InputFormat(side, 1, (0.5,), (0.5,)).size == size


def test_half_spreads_black_to_white_over_minus_one_to_one():
    form = InputFormat.half((40, 60), 3)
    assert form == InputFormat((40, 60), 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("form", "channels", "expected"),
    [
        (InputFormat.half((40, 40), 1), 1, ""),
        (InputFormat((80, 80), 1, (0.5,), (0.5,)), 1, "Images are enlarged from 40 × 40 px to 80 × 80 px (bilinear)."),
        (
            InputFormat(40, 3, (0.5,) * 3, (0.5,) * 3),
            1,
            "Images are shown with their grey repeated as red, green and blue.",
        ),
        (InputFormat(40, 1, (0.5,), (0.5,)), 3, "Images are shown with their colours turned grey."),
        (
            InputFormat(20, 3, (0.5,) * 3, (0.5,) * 3, interpolation="bicubic", crop=0.875),
            1,
            "Images are reduced from 40 × 40 px to 20 × 20 px (bicubic; the middle 88 % of each side), shown with "
            "their grey repeated as red, green and blue.",
        ),
    ],
)
def test_what_is_adapted_is_a_sentence(form, channels, expected):
    assert form.adapted((40, 40), channels) == expected
