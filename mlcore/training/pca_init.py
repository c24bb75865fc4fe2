"""Where a linear head begins that is to keep what the features know: at their principal components."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.training.feature_source import FeatureSource, Source

MOST_FEATURES = 5000  # rows that are looked at where features are there before
MOST_IMAGES = 1000  # and where the backbone has to make them


def spread_rows(rows: np.ndarray, source: Source) -> np.ndarray:
    """As many of the rows as the principal components are computed from, evenly spread."""
    most = MOST_FEATURES if isinstance(source, FeatureSource) else MOST_IMAGES
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)]


@torch.no_grad()
def begin_with_components(head: nn.Module, features: Tensor) -> None:
    """Make the head's linear layer the projection on the principal components of the features (N, F).

    Then the first embeddings keep as much of the features as their size allows, where a random projection loses much
    of it. Where few images show fewer directions than the embedding is long, the rest are directions at right angles
    to them, drawn at random: other images may differ there.
    """
    mean, components = principal_components(features)
    layer = next(module for module in head.modules() if isinstance(module, nn.Linear))
    directions = complete_directions(components, min(layer.out_features, features.shape[1]))[: layer.out_features]
    layer.weight.zero_()
    layer.weight[: len(directions)] = directions.to(layer.weight)
    layer.bias.copy_(-layer.weight @ mean.to(layer.weight))


def complete_directions(directions: Tensor, count: int) -> Tensor:
    """Orthonormal directions (K, F), and after them others at right angles, until there are `count`, at most F."""
    missing = count - len(directions)
    if missing <= 0:
        return directions
    drawn = torch.randn(
        missing, directions.shape[1], dtype=directions.dtype, generator=torch.Generator().manual_seed(0)
    )
    for _ in range(2):  # once more, because the first time leaves what rounding makes
        drawn -= drawn @ directions.T @ directions
        drawn = torch.linalg.qr(drawn.T).Q.T
    return torch.cat([directions, drawn])


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
