"""A small convolutional network that learns in seconds on a CPU."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mlcore.backbones.backbone import MapBackbone
from mlcore.backbones.registry import BACKBONES
from mlcore.declare import Knob
from mlcore.input_format import InputFormat
from mlcore.traits import BackboneTrait


@BACKBONES.add(
    "small_conv", title="Small convolutional net", family="from scratch", traits=(BackboneTrait.FEATURE_MAP,)
)
class SmallConv(MapBackbone):
    """Four 3 x 3 convolutions, each halving the image while it is larger than 4 px, then the average over the image.

    Group normalisation, not batch normalisation: it treats each image alone, so training and evaluation compute the
    same thing, a batch composed by a sampler or a miner does not leak into its own statistics, and a stopped run
    resumes without buffers to restore. Random weights from torch's global generator. For images of 8 to 64 px.

    Shapes: images (B, channels, H, W) float -> (B, feature_size).
    """

    pretrained = False

    def __init__(
        self,
        image_size: tuple[int, int],
        channels: int,
        *,
        width: Annotated[int, Knob("Channels of the first block; later ones have 2 and 4 times as many.", 8, 128)] = 16,
        feature_size: Annotated[int, Knob("Length of the feature vector.", 2, 2048, log=True)] = 128,
    ) -> None:
        super().__init__()
        self.feature_size = feature_size
        self.input_format = InputFormat.half(image_size, channels)
        blocks, side, before = [], min(image_size), channels
        for after in (width, 2 * width, 4 * width, feature_size):
            stride = 2 if side > 4 else 1
            side = -(-side // stride)
            blocks.append(conv_block(before, after, stride))
            before = after
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(images).mean(dim=(2, 3))

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, feature_size, h, w): what `forward` averages."""
        return self.blocks(images)

    def map_size(self) -> int:
        return self.feature_size

    def weights_by_block(self) -> list[list[nn.Parameter]]:
        """Its weights block by block, the last one last."""
        return [list(block.parameters()) for block in self.blocks]


def conv_block(before: int, after: int, stride: int) -> nn.Sequential:
    """Convolution, normalisation over groups of at least 8 channels (where there are as many), ReLU."""
    groups = next(count for count in (8, 4, 2, 1) if after % count == 0 and (after // count >= 4 or count == 1))
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.GroupNorm(groups, after), nn.ReLU()
    )
