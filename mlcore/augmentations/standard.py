"""What most papers on image retrieval train with."""

from __future__ import annotations

import torch
from torch import Tensor

from mlcore.augmentations.augmentation import Augmentation, Flip, Pieces
from mlcore.augmentations.registry import AUGMENTATIONS
from mlcore.input_format import InputFormat

SMALLEST_CROP = 0.16


@AUGMENTATIONS.add(
    "standard",
    title="Standard retrieval",
    family="preset",
    paper="Szegedy et al., CVPR 2015, arXiv:1409.4842; as used by Musgrave et al., ECCV 2020, arXiv:2003.08505",
    aliases=("Resize(256), RandomResizedCrop(224), RandomHorizontalFlip (torchvision)",),
)
class StandardAugmentation(Augmentation):
    """Cuts out 16 to 100 % of each image at 3:4 to 4:3, resizes it to the input, and mirrors half of the images.

    The literature's sizes, 256 px before a crop of 224, are taken as a ratio: images that are larger than 8/7 of the
    input are made that large first. Evaluation sees whole images.

    What to expect: For photos. Small crops of characters may show another one; take the light preset there.
    """

    def __init__(self, *, flip: Flip = None) -> None:
        self.pieces = Pieces(crop=SMALLEST_CROP, flip=flip, resized=True)

    def render(self, pixels: Tensor, input_format: InputFormat, generator: torch.Generator) -> Tensor:
        return self.pieces.render(pixels, input_format, generator)
