"""Pixels to a network's input, and small movements."""

import pytest
import torch

from mlcore.data.transforms import jitter_images, to_input
from mlcore.input_format import InputFormat


def form(size, channels, mean=0.0, std=1.0):
    return InputFormat(size, channels, mean=(mean,) * channels, std=(std,) * channels)


def random_pixels(count, height, width, channels):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, channels), generator=generator, dtype=torch.uint8)


def test_same_size_is_only_scaled_to_one_and_normalised():
    pixels = random_pixels(2, 4, 5, 3)
    expected = (pixels.permute(0, 3, 1, 2) / 255.0 - 0.5) / 0.25
    torch.testing.assert_close(to_input(pixels, form((4, 5), 3, mean=0.5, std=0.25)), expected)


def test_each_channel_has_its_own_mean_and_deviation():
    pixels = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    rgb = InputFormat((2, 2), channels=3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    assert to_input(pixels, rgb)[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


def test_grey_becomes_three_equal_channels():
    images = to_input(random_pixels(2, 4, 4, 1), form((4, 4), 3))
    assert images.shape == (2, 3, 4, 4)
    assert torch.equal(images[:, 0], images[:, 2])


def test_rgb_becomes_grey_by_the_weights_of_the_eye():
    pixels = torch.tensor([255, 0, 0, 0, 255, 0, 0, 0, 255], dtype=torch.uint8).view(1, 1, 3, 3)
    grey = to_input(pixels, form((1, 3), 1))
    torch.testing.assert_close(grey.flatten(), torch.tensor([0.299, 0.587, 0.114]))


def test_halving_averages_rather_than_skips():
    pixels = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).repeat(4, 4)[
        None, ..., None
    ]  # an 8 x 8 chequerboard
    halved = to_input(pixels, form((4, 4), 1))
    torch.testing.assert_close(halved, torch.full((1, 1, 4, 4), 0.5), atol=0.07, rtol=0)


def test_resizing_gives_the_asked_height_and_width():
    assert to_input(random_pixels(2, 6, 9, 3), form((12, 7), 3)).shape == (2, 3, 12, 7)


def test_no_movement_at_strength_zero():
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(jitter_images(images, torch.Generator().manual_seed(0), 0.0), images)


def test_movement_is_decided_by_the_generator_alone():
    images = torch.rand(3, 1, 8, 8)
    moved = jitter_images(images, torch.Generator().manual_seed(1), 1.0)
    torch.manual_seed(5)
    assert torch.equal(moved, jitter_images(images, torch.Generator().manual_seed(1), 1.0))
    assert not torch.equal(moved, jitter_images(images, torch.Generator().manual_seed(2), 1.0))


def test_movement_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    jitter_images(
        torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1), 1.0
    )
    assert torch.equal(torch.get_rng_state(), state)


def test_each_image_of_a_batch_moves_by_its_own_amount():
    images = torch.rand(1, 1, 16, 16).expand(4, -1, -1, -1)
    moved = jitter_images(images, torch.Generator().manual_seed(0), 1.0)
    assert len({image.numpy().tobytes() for image in moved}) == 4


@pytest.mark.parametrize("seed", range(5))
def test_flat_image_stays_flat_because_its_border_goes_on(seed):
    images = torch.full((2, 3, 10, 14), 0.7)
    torch.testing.assert_close(jitter_images(images, torch.Generator().manual_seed(seed), 1.0), images)


@pytest.mark.parametrize("seed", range(5))
def test_spot_in_the_middle_moves_at_most_a_tenth_of_the_size_at_full_strength(seed):
    images = torch.zeros(16, 1, 40, 60)
    images[:, :, 18:22, 28:32] = 1.0
    moved = jitter_images(images, torch.Generator().manual_seed(seed), 1.0)[:, 0]
    rows, columns = torch.arange(40) + 0.5, torch.arange(60) + 0.5
    weight = moved.sum(dim=(1, 2))
    down = (moved.sum(dim=2) * rows).sum(dim=1) / weight - 20
    right = (moved.sum(dim=1) * columns).sum(dim=1) / weight - 30
    # A tenth of the size, stretched by the largest scale and turned by the largest angle.
    assert (down / 4.0).square().add((right / 6.0).square()).sqrt().max() < 2**0.5 * 1.17 * 1.15
    assert down.abs().max() > 1.0


def test_circle_stays_round_in_an_image_that_is_not_square():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    image = ((rows - 19.5).square() + (columns - 39.5).square() < 100).float()[None, None]
    for seed in range(5):
        moved = jitter_images(image, torch.Generator().manual_seed(seed), 0.9)[0, 0]
        tall, wide = (moved > 0.5).any(dim=1).sum(), (moved > 0.5).any(dim=0).sum()
        assert abs(int(tall) - int(wide)) <= 1


def test_a_crop_of_the_middle_keeps_shapes_and_leaves_the_border_out():
    circle = (torch.arange(60.0) - 29.5).square()[:, None] + (torch.arange(90.0) - 44.5).square()[None, :] < 200
    pixels = (circle * 255).byte()[None, :, :, None]
    cropped = to_input(pixels, InputFormat(30, 1, (0.0,), (1.0,), interpolation="bicubic", crop=0.75))[0, 0] > 0.5
    assert cropped.shape == (30, 30)
    tall, wide = int(cropped.any(dim=1).sum()), int(cropped.any(dim=0).sum())
    assert abs(tall - wide) <= 1
    assert tall == pytest.approx(2 * 200**0.5 * (30 / 0.75) / 60, abs=1.5)


def test_bicubic_stays_between_black_and_white():
    pixels = (random_pixels(2, 8, 8, 1) > 127).byte() * 255
    images = to_input(pixels, InputFormat(32, 1, (0.0,), (1.0,), interpolation="bicubic"))
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
