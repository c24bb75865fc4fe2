"""What augmentations share: pixels in, one random rendering of each out as a backbone's input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcore.data.transforms import to_input
from mlcore.declare import Knob
from mlcore.input_format import InputFormat

BEFORE_CROP = 256 / 224  # the field's habit: resize to 256, crop 224
GREY_VALUE = 127
HALF = 0.5
Flip = Annotated[
    float | None,
    Knob(
        "Chance that an image is mirrored left to right. Leave it at 0 where the mirror image is something else: "
        "characters, signs, left and right hands.",
        0.0,
        1.0,
        none="half for colour images, never for grey ones, which are mostly characters",
    ),
]


class Augmentation:
    """A way to render training images anew in every step. Each image of a batch is moved by its own amounts."""

    def render(self, pixels: Tensor, input_format: InputFormat, generator: torch.Generator) -> Tensor:
        """One random rendering of each image, for the backbone; everything random comes from `generator`.

        Shapes: pixels (B, H, W, C) uint8, C 1 or 3 -> (B, channels, h, w) float32, on the device of `pixels`.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Pieces:
    """What is done to each image, in this order: crop, mirror, turn, colours, grey, blur, erase.

    `crop` is the smallest share of the area that is cut out (1: none) and `turn` the largest angle, radians. `bright`,
    `contrast`, `saturation` are the largest relative changes and `hue` the largest share of the colour circle, made
    with the chance `colour`; `grey`, `blur` and `erase` are chances. `flip` None: half for colour, never for grey.
    `resized`: larger images are first made a little larger than the input, as the retrieval literature does.
    """

    crop: float = 1.0
    flip: float | None = None
    turn: float = 0.0
    colour: float = 1.0
    bright: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    erase: float = 0.0
    resized: bool = False

    def render(self, pixels: Tensor, input_format: InputFormat, generator: torch.Generator) -> Tensor:
        """As `Augmentation.render`, by torchvision's transforms, which are drawn for each image by itself."""
        if len(pixels) == 0:
            return to_input(pixels, input_format)
        height, width = input_format.size
        size = (height, width)
        images = pixels.permute(0, 3, 1, 2)  # (B, C, H, W)
        with drawn_from(generator):
            if self.resized:
                images = made_smaller(images, size)
            transform = self.transform(images.shape[1], size, input_format.interpolation)
            moved = torch.stack([transform(image) for image in images])
        return to_input(moved.permute(0, 2, 3, 1), input_format, rendered=self.crop < 1.0)

    def transform(self, channels: int, size: tuple[int, int], interpolation: str) -> Callable[[Tensor], Tensor]:
        """torchvision's transforms of one image (C, H, W) uint8, in their order."""
        from torchvision.transforms import v2  # here, because it takes most of a second and listings need none of it

        steps: list[Callable[[Tensor], Tensor]] = []
        if self.crop < 1.0:
            steps.append(RandomResizedCrop(size, self.crop, interpolation))
        flip = (HALF if channels == 3 else 0.0) if self.flip is None else self.flip
        if flip > 0.0:
            steps.append(v2.RandomHorizontalFlip(flip))
        if self.turn > 0.0:
            steps.append(RandomRotation(math.degrees(self.turn)))
        if max(self.bright, self.contrast, self.saturation, self.hue) > 0.0:
            jitter = v2.ColorJitter(self.bright, self.contrast, self.saturation, self.hue)
            steps.append(jitter if self.colour == 1.0 else v2.RandomApply([jitter], self.colour))
        if self.grey > 0.0 and channels == 3:
            steps.append(v2.RandomGrayscale(self.grey))
        if self.blur > 0.0:
            kernel = max(3, round(0.1 * min(size)) // 2 * 2 + 1)
            steps.append(v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], self.blur))
        if self.erase > 0.0:
            steps.append(v2.RandomErasing(self.erase, scale=(0.02, 0.25), value=[GREY_VALUE] * channels))
        return v2.Compose(steps) if steps else lambda image: image


class RandomResizedCrop:
    """torchvision's random resized crop, its amounts drawn by torchvision, resized as bytes: several times faster."""

    def __init__(self, size: tuple[int, int], smallest: float, interpolation: str) -> None:
        from torchvision.transforms import v2

        self.size, self.interpolation = size, interpolation
        self.drawn = v2.RandomResizedCrop(size, (smallest, 1.0)).make_params

    def __call__(self, image: Tensor) -> Tensor:
        place = self.drawn([image])
        top, left = place["top"], place["left"]
        part = image[None, :, top : top + place["height"], left : left + place["width"]]
        return F.interpolate(part, self.size, mode=self.interpolation, antialias=True)[0]


class RandomRotation:
    """Turns an image by up to so many degrees; its border is continued outwards into the corners.

    torchvision's own fill darkens a seam along the border, so that is kept outside.
    """

    def __init__(self, degrees: float) -> None:
        from torchvision.transforms import v2

        self.v2 = v2.functional
        self.bilinear = v2.InterpolationMode.BILINEAR
        self.degrees = degrees

    def __call__(self, image: Tensor) -> Tensor:
        angle = (2.0 * torch.rand(()).item() - 1.0) * self.degrees
        height, width = image.shape[1:]
        diagonal = math.ceil(math.hypot(height, width)) + 2
        across, down = (diagonal - width + 1) // 2, (diagonal - height + 1) // 2
        wide = self.v2.pad(image, [across, down], padding_mode="edge")
        return self.v2.center_crop(self.v2.rotate(wide, angle, interpolation=self.bilinear), [height, width])


def made_smaller(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) that are larger than a little over `size` made that large; others are left as they are."""
    from torchvision.transforms import v2

    target = [round(length * BEFORE_CROP) for length in size]
    if images.shape[2] <= target[0] or images.shape[3] <= target[1]:
        return images
    return v2.functional.resize(images, target, antialias=True)


@contextmanager
def drawn_from(generator: torch.Generator) -> Iterator[None]:
    """torchvision draws from torch's global generator: it is seeded from `generator`, and put back afterwards."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
