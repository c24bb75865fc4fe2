"""Each piece of an augmentation does what it says, and nothing where it is at 0."""

import math

import pytest
import torch

from mlcore.augmentations import CustomAugmentation, StandardAugmentation
from mlcore.augmentations.augmentation import GREY_VALUE, Pieces, made_smaller
from mlcore.backbones import InputFormat
from mlcore.data.transforms import to_input

SIZE = (20, 20)


def half_white(count, channels):
    """Left half black, right half white."""
    images = torch.zeros(count, *SIZE, channels, dtype=torch.uint8)
    images[:, :, 10:] = 255
    return images


def flat(count, channels, value=200):
    return torch.full((count, *SIZE, channels), value, dtype=torch.uint8)


def rendered(pieces, pixels, seed=0):
    form = InputFormat(SIZE, pixels.shape[3], (0.0,) * pixels.shape[3], (1.0,) * pixels.shape[3])
    return pieces.render(pixels, form, torch.Generator().manual_seed(seed))


def test_without_pieces_images_are_left_as_they_are():
    images = half_white(3, 3)
    assert torch.equal(rendered(Pieces(flip=0.0), images), to_input(images, InputFormat(SIZE, 3, (0,) * 3, (1,) * 3)))
    everything_off = CustomAugmentation(smallest_crop=1.0, flip=0.0, brightness=0.0, contrast=0.0)
    assert torch.equal(rendered(everything_off.pieces, images), rendered(Pieces(flip=0.0), images))


def test_half_of_the_colour_images_are_mirrored_and_no_grey_one():
    def mirrored(images):
        return float((images[:, :, :, 0].mean(dim=(1, 2)) == 1.0).float().mean())

    assert 0.3 < mirrored(rendered(Pieces(), half_white(200, 3))) < 0.7
    assert mirrored(rendered(Pieces(), half_white(50, 1))) == 0.0
    assert mirrored(rendered(Pieces(flip=1.0), half_white(50, 1))) == 1.0


@pytest.mark.parametrize("pieces", [Pieces(crop=0.1), Pieces(turn=1.0), Pieces(blur=1.0), Pieces(crop=0.2, turn=3.0)])
def test_a_flat_image_stays_flat(pieces):
    torch.testing.assert_close(rendered(pieces, flat(4, 3)), torch.full((4, 3, *SIZE), 200 / 255), atol=0.01, rtol=0)


def test_a_turn_is_at_most_as_large_as_asked():
    line = torch.zeros(60, *SIZE, 1, dtype=torch.uint8)
    line[:, 9:11, :] = 255
    images = rendered(Pieces(turn=math.radians(20)), line)[:, 0]
    rows = torch.arange(20.0) + 0.5
    heights = [(images[:, :, column] * rows).sum(dim=1) / images[:, :, column].sum(dim=1) for column in (4, 15)]
    angles = torch.atan2(heights[1] - heights[0], torch.tensor(11.0)).abs()
    assert float(angles.max()) < math.radians(24)
    assert float(angles.max()) > math.radians(12)


def test_erasing_makes_a_patch_mid_grey_and_leaves_the_rest():
    images = rendered(Pieces(erase=1.0), flat(20, 1)) * 255
    values = images.round().unique().tolist()
    assert values == [GREY_VALUE, 200]
    shares = (images.round() == GREY_VALUE).float().mean(dim=(1, 2, 3))
    assert 0.005 < float(shares.min()) <= float(shares.max()) < 0.4


def test_grey_makes_the_channels_equal_and_only_so_often():
    red = flat(200, 3)
    red[..., 1:] = 0
    images = rendered(Pieces(flip=0.0, grey=0.25), red)
    equal = (images[:, 0] == images[:, 2]).all(dim=(1, 2)).float().mean()
    assert 0.15 < float(equal) < 0.35


def test_brightness_stays_within_its_share():
    images = rendered(Pieces(bright=0.2), flat(50, 1, value=100)).mean(dim=(1, 2, 3)) * 255
    assert 79 <= float(images.min()) < 90 < 110 < float(images.max()) <= 121


def test_images_a_little_larger_than_the_input_or_smaller_are_not_made_smaller_first():
    assert made_smaller(torch.zeros(1, 3, 256, 256, dtype=torch.uint8), (64, 64)).shape[2:] == (73, 73)
    for side in (32, 64, 73):
        assert made_smaller(torch.zeros(1, 3, side, side, dtype=torch.uint8), (64, 64)).shape[2:] == (side, side)


def test_the_standard_crop_shows_part_of_the_image_at_the_inputs_size():
    ramp = torch.arange(0, 256, 2, dtype=torch.uint8).view(1, 1, 128, 1).expand(40, 128, 128, 3)
    form = InputFormat((32, 32), 3, (0.0,) * 3, (1.0,) * 3)
    images = StandardAugmentation(flip=0.0).render(ramp, form, torch.Generator().manual_seed(0))
    spans = (images[:, 0, 0, -1] - images[:, 0, 0, 0]) / images.new_tensor(254 / 255)
    assert images.shape == (40, 3, 32, 32)
    assert 0.3 < float(spans.min()) < 0.7 < float(spans.max()) <= 1.0
