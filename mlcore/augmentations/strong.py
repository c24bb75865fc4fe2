"""Everything at once, as self-supervised training likes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlcore.augmentations.augmentation import Augmentation, Flip, Pieces
from mlcore.augmentations.registry import AUGMENTATIONS
from mlcore.input_format import InputFormat


@AUGMENTATIONS.add(
    "strong",
    title="Strong",
    family="preset",
    paper="Chen et al., ICML 2020, arXiv:2002.05709, appendix A; erasing: Zhong et al., AAAI 2020, arXiv:1708.04896",
    aliases=("SimCLR augmentation", "cutout", "RandomErasing (torchvision)"),
)
class StrongAugmentation(Augmentation):
    """Crops of at least a fifth, mirroring, turns within 15 degrees, colours, grey, blur, and a patch erased.

    Colours change in 80 % of the images (by up to 40 %, the hue by a tenth of the circle), 20 % turn grey, half are
    blurred, a quarter lose a patch of 2 to 25 % of their area, which becomes mid-grey.

    What to expect: For long runs on photos and for training without labels. In a short run it costs more than it gives.
    Where colour tells classes apart, take a custom one without it.
    """

    def __init__(self, *, flip: Flip = None) -> None:
        self.pieces = Pieces(
            crop=0.2,
            flip=flip,
            turn=math.radians(15),
            colour=0.8,
            bright=0.4,
            contrast=0.4,
            saturation=0.4,
            hue=0.1,
            grey=0.2,
            blur=0.5,
            erase=0.25,
        )

    def render(self, pixels: Tensor, input_format: InputFormat, generator: torch.Generator) -> Tensor:
        return self.pieces.render(pixels, input_format, generator)
