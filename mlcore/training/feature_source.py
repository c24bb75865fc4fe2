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
        """The features of these rows (B, feature_size). Raises: ValueError for `mix`, since there are no images."""
        if mix is not None:
            raise ValueError("features that were made before cannot be mixed as images are. Set mix.kind to 'none'.")
        return self.read(rows)

    def read(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.table[rows]).to(self.device)


Source = PixelSource | FeatureSource


def row_chunks(count: int, size: int = CHUNK, start: int = 0) -> Iterator[np.ndarray]:
    """Row numbers `start` .. count-1 in runs of `size`."""
    for first in range(start, count, size):
        yield np.arange(first, min(first + size, count))


class FeatureReader:
    """The features and embeddings of a table's rows by a run's model as it is at the moment.

    `source` may be changed: pixels until a frozen backbone's features are there.
    """

    def __init__(self, model: Embedder, source: Source, training_rows: np.ndarray) -> None:
        self.model = model
        self.source = source
        self.training_rows = training_rows  # (N,) rows of the table, by their place in the training split

    def read(
        self,
        places: np.ndarray,
        generator: torch.Generator | None = None,
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The features (B, feature_size) of places in the training split, to learn from; see `PixelSource.features`."""
        return self.source.features(self.model, self.training_rows[places], generator, mix)

    @torch.no_grad()
    def embed(self, places: np.ndarray) -> Tensor:
        """Embeddings (B, D) of places in the training split, unaugmented; nothing is learned from them."""
        self.model.eval()
        try:
            rows = [self.training_rows[places[part]] for part in row_chunks(len(places))]
            return torch.cat([self.model.head(self.source.features(self.model, part)) for part in rows])
        finally:
            self.model.train()

    @torch.inference_mode()
    def read_frozen(self, rows: np.ndarray) -> np.ndarray:
        """The features (n, feature_size) of rows of the table, unaugmented; nothing is learned from them."""
        self.model.eval()
        try:
            return self.source.features(self.model, rows).float().cpu().numpy()
        finally:
            self.model.train()
