"""Loading by name."""

import pytest

from mlcore.data import DATASETS, load


def test_three_sets_come_with_the_lab():
    assert list(DATASETS) == ["digits", "glyphs", "emoji"]


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no data set 'glyph'\. Did you mean 'glyphs'"):
        load("glyph")


def test_loaded_pixels_cannot_be_changed_for_others():
    with pytest.raises(ValueError, match="read-only"):
        load("digits").pixels[0] = 0


@pytest.mark.parametrize(
    ("key", "shape", "classes"),
    [("digits", (1797, 8, 8, 1), 10), ("glyphs", (62 * 36, 40, 40, 1), 62), ("emoji", (130 * 12, 48, 48, 3), 130)],
)
def test_sets_have_the_size_they_are_known_for(key, shape, classes):
    table = load(key)
    assert table.pixels.shape == shape
    assert len(table.class_names) == classes
