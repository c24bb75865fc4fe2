"""Where a step's features come from: pixels through the backbone, or, with a frozen backbone, features made once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mlcore.data import ImageTable
from mlcore.data.transforms import jitter, to_input
from mlcore.training.embedder import Embedder

CHUNK = 128


class PixelSource:
    """Images of a table, moved to the device batch by batch."""

    def __init__(self, table: ImageTable, device: torch.device) -> None:
        self.pixels = torch.from_numpy(table.pixels.copy())  # (N, H, W, C) uint8
        self.device = device

    def features(self, model: Embedder, rows: np.ndarray, generator: torch.Generator | None = None) -> Tensor:
        """The backbone's features of these rows (B, feature_size); `generator` moves the images a little."""
        images = to_input(self.pixels[torch.from_numpy(rows)].to(self.device), model.backbone.input_format)
        if generator is not None:
            images = jitter(images, generator, strength=1.0)
        return model.backbone(images)


class FeatureSource:
    """Features of every row, computed once with the frozen backbone."""

    def __init__(self, features: Tensor) -> None:
        self.table = features  # (N, feature_size)

    def features(self, model: Embedder, rows: np.ndarray, generator: torch.Generator | None = None) -> Tensor:
        return self.table[torch.from_numpy(rows).to(self.table.device)]


Source = PixelSource | FeatureSource


def chunks(count: int, size: int = CHUNK) -> Iterator[np.ndarray]:
    """Row numbers 0 .. count-1 in runs of `size`."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
