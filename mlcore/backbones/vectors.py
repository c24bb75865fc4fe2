"""No network at all: feature vectors that a data set already holds, as they are."""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.backbones.backbone import Backbone
from mlcore.backbones.registry import BACKBONES
from mlcore.input_format import InputFormat
from mlcore.traits import BackboneTrait


@BACKBONES.add("vectors", title="The vectors as they are", family="none", traits=(BackboneTrait.VECTORS,))
class Vectors(Backbone):
    """For a set of feature vectors, and for no other: they go to the head unchanged, and only the head trains.

    What to expect: "no training" is the vectors themselves. A head that gains little says that they are good already,
    or that it overfits: vectors are not augmented.

    Shapes: vectors (B, vector_size) float -> the same.
    """

    pretrained = False

    def __init__(self, vector_size: int, image_size: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.feature_size = vector_size
        self.input_format = InputFormat.half(image_size, channels)

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors

    def weights_by_block(self) -> list[list[nn.Parameter]]:
        """It has none."""
        return []
