"""Small shifts, scales and turns."""

from __future__ import annotations

import torch
from torch import Tensor

from mlcore.augmentations.augmentation import Augmentation
from mlcore.augmentations.registry import AUGMENTATIONS
from mlcore.data.transforms import jitter_images, to_input
from mlcore.input_format import InputFormat


@AUGMENTATIONS.add("light", title="Light", family="preset", aliases=("v2.RandomAffine (torchvision)",))
class LightAugmentation(Augmentation):
    """Shifts each image by up to a tenth, scales it within 15 % and turns it within 12 degrees.

    What to expect: Safe for any images, characters too, and quick: the whole batch is moved at once.
    """

    def __init__(self) -> None:
        pass

    def render(self, pixels: Tensor, input_format: InputFormat, generator: torch.Generator) -> Tensor:
        return jitter_images(to_input(pixels, input_format), generator, strength=1.0)
