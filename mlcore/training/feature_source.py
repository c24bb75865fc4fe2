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
    """Features of every row that are there before: a frozen backbone's, or a data set's own vectors.

    They may be a file mapped into memory: only the rows that are asked for are read.
    """

    def __init__(self, features: np.ndarray, device: torch.device) -> None:
        self.table = features  # (N, feature_size) float32
        self.device = device

    def features(
        self,
        model: Embedder,
        rows: np.ndarray,
        generator: torch.Generator | None = None,
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        return torch.from_numpy(self.table[rows]).to(self.device)


Source = PixelSource | FeatureSource


def chunks(count: int, size: int = CHUNK, start: int = 0) -> Iterator[np.ndarray]:
    """Row numbers `start` .. count-1 in runs of `size`."""
    for first in range(start, count, size):
        yield np.arange(first, min(first + size, count))
