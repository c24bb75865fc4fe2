"""Where a linear head on a frozen backbone begins: at the principal components of the training images' features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.training.embedder import Embedder
from mlcore.training.source import Source, chunks

MOST_ROWS = 5000


@torch.no_grad()
def begin_with_components(model: Embedder, source: Source, rows: np.ndarray) -> None:
    """Make the head's linear layer the projection on the principal components of the features of (some of) these rows.

    Then the first embeddings keep as much of the features as their size allows, where a random projection loses
    much of it. Where there are fewer components than the embedding is long, the rest begins at zero.
    """
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).round().astype(int)]
    features = torch.cat([source.features(model, spread[part]).float() for part in chunks(len(spread))])
    mean, components = principal_components(features)
    layer = next(module for module in model.head.modules() if isinstance(module, nn.Linear))
    kept = components[: layer.out_features].to(layer.weight)
    layer.weight.zero_()
    layer.weight[: len(kept)] = kept
    layer.bias.copy_(-layer.weight @ mean.to(layer.weight))


def principal_components(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (F,) and the directions (K, F) of features (N, F), the strongest first, K at most N - 1 and F.

    Of a direction and its opposite, the one whose largest number is positive.
    """
    exact = features.double()
    mean = exact.mean(dim=0)
    centred = exact - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    directions = vectors.T.flip(0)[: max(1, min(len(features) - 1, features.shape[1]))]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return mean, directions * largest.sign()
