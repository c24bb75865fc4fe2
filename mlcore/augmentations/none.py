"""No augmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from mlcore.augmentations.augmentation import Augmentation
from mlcore.augmentations.registry import AUGMENTATIONS
from mlcore.data.transforms import to_input
from mlcore.input_format import InputFormat


@AUGMENTATIONS.add("none", title="None", family="preset", aliases=("v2.Identity (torchvision)",))
class NoAugmentation(Augmentation):
    """Every image as it is, in every step.

    What to expect: The fastest, and the quickest to learn its training images by heart.
    """

    def __init__(self) -> None:
        pass

    def render(self, pixels: Tensor, input_format: InputFormat, generator: torch.Generator) -> Tensor:
        return to_input(pixels, input_format)
