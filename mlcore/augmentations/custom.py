"""The pieces of the presets, each with a knob."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.augmentations.augmentation import Augmentation, Flip, Pieces
from mlcore.augmentations.registry import AUGMENTATIONS
from mlcore.declare import Knob
from mlcore.input_format import InputFormat


@AUGMENTATIONS.add("custom", title="Custom", family="custom", aliases=("torchvision.transforms.v2",))
class CustomAugmentation(Augmentation):
    """Crop, mirror, turn, colours, grey, blur and erase, each as much as you say; what is left at 0 is left out.

    What to expect: Look at the preview: what a person can no longer tell, a network learns by heart.
    """

    def __init__(
        self,
        *,
        smallest_crop: Annotated[float, Knob("Least share of the area that is kept; 1 cuts nothing.", 0.05, 1.0)] = 0.5,
        flip: Flip = None,
        turn: Annotated[float, Knob("Largest turn to either side.", 0.0, 3.1416, unit="rad")] = 0.0,
        brightness: Annotated[float, Knob("Largest relative change of brightness.", 0.0, 1.0)] = 0.2,
        contrast: Annotated[float, Knob("Largest relative change of contrast.", 0.0, 1.0)] = 0.2,
        saturation: Annotated[float, Knob("Largest relative change of saturation.", 0.0, 1.0, rare=True)] = 0.0,
        hue: Annotated[float, Knob("Largest change of hue, in colour circles.", 0.0, 0.5, rare=True)] = 0.0,
        grey: Annotated[float, Knob("Chance that a colour image turns grey.", 0.0, 1.0, rare=True)] = 0.0,
        blur: Annotated[float, Knob("Chance that an image is blurred.", 0.0, 1.0, rare=True)] = 0.0,
        erase: Annotated[float, Knob("Chance that a patch becomes mid-grey (cutout).", 0.0, 1.0)] = 0.0,
    ) -> None:
        self.pieces = Pieces(
            crop=smallest_crop,
            flip=flip,
            turn=turn,
            bright=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            grey=grey,
            blur=blur,
            erase=erase,
        )

    def render(self, pixels: Tensor, input_format: InputFormat, generator: torch.Generator) -> Tensor:
        return self.pieces.render(pixels, input_format, generator)
