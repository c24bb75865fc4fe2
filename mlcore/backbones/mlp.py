"""A two-layer perceptron on the bare pixels: the least that can learn."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mlcore.backbones.backbone import Backbone
from mlcore.backbones.registry import BACKBONES
from mlcore.declare import Knob
from mlcore.input_format import InputFormat


@BACKBONES.add("mlp", title="Two-layer perceptron", family="from scratch")
class MLP(Backbone):
    """Flatten the image, one hidden layer, features. Knows nothing of neighbouring pixels.

    Random weights from torch's global generator. For small images: its size grows with their area.

    Shapes: images (B, channels, H, W) float -> (B, feature_size).
    """

    pretrained = False

    def __init__(
        self,
        image_size: tuple[int, int],
        channels: int,
        *,
        hidden_size: Annotated[int, Knob("Units of the hidden layer.", 8, 4096, log=True)] = 256,
        feature_size: Annotated[int, Knob("Length of the feature vector.", 2, 2048, log=True)] = 128,
    ) -> None:
        super().__init__()
        self.feature_size = feature_size
        self.input_format = InputFormat.half(image_size, channels)
        height, width = image_size
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * width, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, feature_size),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)

    def weights_by_block(self) -> list[list[nn.Parameter]]:
        """Its weights layer by layer, the last one last."""
        return [list(layer.parameters()) for layer in self.layers if isinstance(layer, nn.Linear)]
