"""The atlas, decoded again."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from mlcore.data import load
from mlcore.data.thumbnails import draw_atlas


def tiles_of(made):
    with Image.open(io.BytesIO(made.data)) as image:
        pixels = np.asarray(image)
    rows = pixels.shape[0] // made.tile
    shape = (rows, made.tile, made.columns, made.tile, -1)
    tiles = pixels.reshape(shape).swapaxes(1, 2)
    return tiles.reshape(rows * made.columns, made.tile, made.tile, -1)[: made.count]


@pytest.mark.parametrize("count", [1, 2, 5, 16, 17])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_tile_size_come_back_bit_for_bit(count, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 6, channels), dtype=np.uint8)
    np.testing.assert_array_equal(tiles_of(draw_atlas(pixels, 6)), pixels)


def test_key_is_of_the_contents_alone():
    pixels = load("digits").pixels[:30]
    made, again, other = draw_atlas(pixels, 8), draw_atlas(pixels.copy(), 8), draw_atlas(pixels[:29], 8)
    assert made.key == again.key == hashlib.sha256(made.data).hexdigest()[:16]
    assert other.key != made.key
    assert made.mime == "image/png"


def test_small_images_are_enlarged_without_blur():
    pixels = np.array([[[0, 255], [255, 0]]], dtype=np.uint8)[..., None]
    np.testing.assert_array_equal(
        tiles_of(draw_atlas(pixels, 4))[0, ..., 0], np.kron([[0, 255], [255, 0]], np.ones((2, 2)))
    )


def test_image_that_is_not_square_keeps_its_shape_and_is_centred():
    pixels = np.full((1, 2, 4, 3), 200, dtype=np.uint8)
    pixels[0, 0, 0] = (10, 20, 30)
    tile = tiles_of(draw_atlas(pixels, 8))[0]
    assert (tile[:2] == (10, 20, 30)).all()
    assert (tile[4:6] == 200).all()
    assert (tile[6:] == (10, 20, 30)).all()


def test_large_images_are_scaled_down_to_their_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    assert abs(tiles_of(draw_atlas(pixels, 8)).mean() - pixels.mean()) < 3


def test_atlas_never_passes_the_side_every_browser_can_draw():
    made = draw_atlas(np.zeros((1000, 2, 2, 1), dtype=np.uint8), 128)
    with Image.open(io.BytesIO(made.data)) as image:
        assert max(image.size) <= 4096


def test_too_many_images_are_refused_with_how_many_fit():
    with pytest.raises(ValueError, match="at 1024 px at most 16 images fit 4096 px square; got 17"):
        draw_atlas(np.zeros((17, 2, 2, 1), dtype=np.uint8), 1024)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="at least one image"):
        draw_atlas(np.zeros((0, 2, 2, 1), dtype=np.uint8), 8)
