"""Where a step's features come from: pixels through the backbone, or, with a frozen backbone, features made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from mlcore.augmentations import Augmentation, NoAugmentation
from mlcore.data import ImageTable
from mlcore.data.transforms import to_input
from mlcore.training.embedder import Embedder

CHUNK = 128


class PixelSource:
    """Images of a table, taken from it (it may be a file) and moved to the device batch by batch."""

    def __init__(self, table: ImageTable, device: torch.device, augmentation: Augmentation | None = None) -> None:
        self.pixels = table.pixels  # (N, H, W, C) uint8
        self.device = device
        self.augmentation = augmentation or NoAugmentation()

    def features(
        self,
        model: Embedder,
        rows: np.ndarray,
        generator: torch.Generator | None = None,
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The features of these rows (B, feature_size); with a `generator`, of the augmentation's next renderings.

        `mix` changes the backbone's input (B, channels, h, w) before it is looked at.
        """
        pixels = torch.from_numpy(self.pixels[rows]).to(self.device)
        input_format = model.backbone.input_format
        if generator is None:
            images = to_input(pixels, input_format)
        else:
            images = self.augmentation.render(pixels, input_format, generator)
        return model.features(images if mix is None else mix(images))


class FeatureSource:
    """Features of every row, computed once with the frozen backbone."""

    def __init__(self, features: Tensor) -> None:
        self.table = features  # (N, feature_size)

    def features(
        self,
        model: Embedder,
        rows: np.ndarray,
        generator: torch.Generator | None = None,
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        return self.table[torch.from_numpy(rows).to(self.table.device)]


Source = PixelSource | FeatureSource


def chunks(count: int, size: int = CHUNK) -> Iterator[np.ndarray]:
    """Row numbers 0 .. count-1 in runs of `size`."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
