"""Pixels of a table to a backbone's input, and small random movements of them. The one torch file of this room."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcore.input_format import InputFormat

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as Pillow's "L"
MAX_SHIFT = 0.1  # of the image's size
MAX_SCALE = 0.15
MAX_TURN = math.radians(12)


def to_input(pixels: Tensor, input_format: InputFormat, *, rendered: bool = False) -> Tensor:
    """Resize (antialiased), crop the middle, turn grey to RGB or RGB to grey, scale to 0..1 and normalise.

    Shapes: pixels (B, H, W, C) uint8 with C 1 or 3 -> (B, channels, h, w) float32, on the device of `pixels`.
    """
    images = pixels.permute(0, 3, 1, 2).float().div_(255.0)  # (B, C, H, W)
    if images.shape[1] == 3 and input_format.channels == 1:
        images = (images * images.new_tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    images = fit_to_input(images, input_format, rendered)
    if images.shape[1] == 1 and input_format.channels == 3:
        images = images.expand(-1, 3, -1, -1)
    mean, std = (images.new_tensor(numbers).view(1, -1, 1, 1) for numbers in (input_format.mean, input_format.std))
    return (images - mean).div_(std)


def fit_to_input(images: Tensor, input_format: InputFormat, rendered: bool) -> Tensor:
    """Images (B, C, H, W) of 0..1 in the input's size; `rendered` ones have been cropped already.

    A crop of the middle keeps the images' shape, without one they are pulled to the input's.
    """
    size, whole = tuple(input_format.size), tuple(input_format.size)
    if input_format.crop < 1.0 and not rendered:
        factor = max(wanted / there for wanted, there in zip(size, images.shape[2:], strict=True)) / input_format.crop
        whole = tuple(max(wanted, round(there * factor)) for wanted, there in zip(size, images.shape[2:], strict=True))
    if tuple(images.shape[2:]) != whole:
        images = F.interpolate(images, size=whole, mode=input_format.interpolation, antialias=True)
        if input_format.interpolation == "bicubic":
            images = images.clamp(0.0, 1.0)
    top, left = ((there - wanted) // 2 for there, wanted in zip(whole, size, strict=True))
    return images[:, :, top : top + size[0], left : left + size[1]]


def jitter_images(images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Shift, scale and turn each image a little, by its own random amounts; the border is continued outwards.

    At strength 1: shifts up to 10 % of the size, scales within 15 %, turns within 12 degrees; 0 changes nothing.
    The amounts come from `generator` alone (four numbers an image), on the generator's device.

    Shapes: images (B, C, h, w) float -> the same.
    """
    if strength == 0.0 or len(images) == 0:
        return images
    amounts = torch.rand(len(images), 4, generator=generator, device=generator.device)
    shift_x, shift_y, scale, turn = ((2.0 * amounts - 1.0) * strength).to(images).unbind(dim=1)  # each (B,)
    size, angle = torch.exp(-MAX_SCALE * scale), MAX_TURN * turn
    height, width = images.shape[2:]
    cosine, sine = size * angle.cos(), size * angle.sin()
    theta = torch.stack(  # from output to input coordinates, which run from -1 to 1 on both axes
        [
            torch.stack([cosine, -sine * (height / width), 2.0 * MAX_SHIFT * shift_x], dim=1),
            torch.stack([sine * (width / height), cosine, 2.0 * MAX_SHIFT * shift_y], dim=1),
        ],
        dim=1,
    )  # (B, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
