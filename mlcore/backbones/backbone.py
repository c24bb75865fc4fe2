"""What backbones are, as the rest sees them."""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.input_format import InputFormat


class Backbone(nn.Module):
    """A network that makes a feature vector of an image: (B, channels, h, w) float -> (B, feature_size).

    `input_format` is how images are to be put in.
    """

    feature_size: int
    input_format: InputFormat

    def weights_by_block(self) -> list[list[nn.Parameter]]:
        """Its weights block by block from the input on, the last one with all that comes after it; [] if unknown."""
        return []


class MapBackbone(Backbone):
    """One that has a last map, of which vectors can be made in other ways too (the trait "feature map")."""

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, map_size, h', w')."""
        raise NotImplementedError

    def map_size(self) -> int:
        """Channels of the last map."""
        raise NotImplementedError
