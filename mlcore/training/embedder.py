"""A backbone and a head: images in, embeddings out."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.backbones import Backbone, MapBackbone
from mlcore.spec.sections import HeadChoice

MOST_RESIDUAL = 8192  # 67 million weights
GEM_POWER = 3.0  # arXiv:1711.02512, section 3.2


class Embedder(nn.Module):
    """`head(features(images))`; where the head does not normalise its embeddings, losses and testers do.

    `freeze`: "nothing"; "batch_norm" keeps the backbone's batch-norm statistics as they were loaded (its weights
    train); "all_but_last" trains its last block and keeps all its statistics; "everything" trains the head only.
    `pooling` "own" takes the features that the backbone makes by itself, any other makes them of its last map: its
    mean, its largest values, the sum of both, or a generalised mean ("gem") whose power trains with the backbone.

    Shapes: images (B, channels, h, w) float, normalised for the backbone -> (B, embedding_size).
    Raises: ValueError for a backbone without a last map or without blocks, where they are asked for.
    """

    def __init__(self, backbone: Backbone, head: HeadChoice, freeze: str, pooling: str = "own") -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_size = backbone.feature_size
        self.pooling = None if pooling == "own" else Pooling(pooling)
        if self.pooling is not None:
            self.feature_size = with_map(backbone).map_size()
        self.head, self.embedding_size = build_head(head, self.feature_size)
        self.freeze = freeze
        self.backbone.requires_grad_(freeze in ("nothing", "batch_norm"))
        if freeze == "all_but_last":
            blocks = backbone.weights_by_block()
            if not blocks:
                raise ValueError(
                    f"backbone: {type(backbone).__name__} has no blocks, so not all but the last can be kept fixed. "
                    "Set freeze to 'nothing' or 'everything'."
                )
            for parameter in blocks[-1]:
                parameter.requires_grad_(True)
        if freeze == "everything" and self.pooling is not None:
            self.pooling.requires_grad_(False)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the head gets: (B, feature_size)."""
        if self.pooling is None:
            return self.backbone(images)
        return self.pooling(with_map(self.backbone).feature_map(images))

    def feature_parameters(self) -> list[nn.Parameter]:
        """Everything before the head."""
        return [*self.backbone.parameters(), *(() if self.pooling is None else self.pooling.parameters())]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze == "everything":
            self.backbone.eval()
        if self.freeze in ("batch_norm", "all_but_last"):
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        if self.freeze == "all_but_last":
            for module in self.backbone.modules():
                own = list(module.parameters())
                if own and not any(parameter.requires_grad for parameter in own):
                    module.eval()
        return self


def with_map(backbone: Backbone) -> MapBackbone:
    """The backbone. Raises: ValueError for one without a last map."""
    if not isinstance(backbone, MapBackbone):
        raise ValueError(
            f"backbone: {type(backbone).__name__} has no last map that could be pooled. Set pooling to 'own'."
        )
    return backbone


class Pooling(nn.Module):
    """Makes a vector of a map (B, C, h, w) -> (B, C).

    "gem" is the mean of the p-th powers to the power 1/p (Radenovic et al., TPAMI 2019, arXiv:1711.02512, eq. 3), of
    values that are at least 1e-6; p is learned, from 3. With p 1 it is the average, with a large p the largest value.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "gem":
            self.power = nn.Parameter(torch.tensor([GEM_POWER]))

    def forward(self, images: Tensor) -> Tensor:
        if self.kind == "avg":
            return images.mean(dim=(2, 3))
        if self.kind == "max":
            return images.amax(dim=(2, 3))
        if self.kind == "avg_max":
            return images.mean(dim=(2, 3)) + images.amax(dim=(2, 3))
        with torch.autocast(images.device.type, enabled=False):  # powers of half precision overflow
            power = self.power.clamp_min(0.1)
            return images.float().clamp_min(1e-6).pow(power).mean(dim=(2, 3)).pow(1.0 / power)


class ResidualLinear(nn.Linear):
    """Adds a linear layer's output to its input: `x + W x + b`, where W and b begin at zero.

    Weight decay draws it back to the identity. Shapes: (B, size) -> (B, size).
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        return features + super().forward(features)


class LengthOne(nn.Module):
    """Divides each embedding by its length."""

    def forward(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings.float(), dim=1)


def build_head(head: HeadChoice, feature_size: int) -> tuple[nn.Module, int]:
    """The head and the length of its embeddings; "none" passes the backbone's features on, "residual" begins there.

    A norm stands after the linear layer that it goes with, and before the activation where there is one; dropout before
    the last linear layer.

    Raises: ValueError for a residual head on features so long that its square matrix would not be reasonable.
    """
    if head.kind == "residual" and feature_size > MOST_RESIDUAL:
        raise ValueError(
            f"head: a residual one is for features of at most {MOST_RESIDUAL:,} numbers; these have {feature_size:,}. "
            "Set head.embedding_size, such as 256, for a linear head."
        )
    size = feature_size if head.kind in ("none", "residual") else head.embedding_size
    hidden = max(feature_size, size)
    layers: list[nn.Module] = []
    if head.kind == "mlp":
        layers = [nn.Linear(feature_size, hidden), *norm_layer(head.norm, hidden), nn.ReLU()]
    if head.dropout > 0.0:
        layers.append(nn.Dropout(head.dropout))
    if head.kind == "residual":
        layers.append(ResidualLinear(size))
    elif head.kind != "none":
        layers.append(nn.Linear(hidden if head.kind == "mlp" else feature_size, size))
    if head.kind != "mlp":
        layers += norm_layer(head.norm, size)
    if head.normalize:
        layers.append(LengthOne())
    if not layers:
        return nn.Identity(), size
    return (layers[0] if len(layers) == 1 else nn.Sequential(*layers)), size


def norm_layer(kind: str, size: int) -> list[nn.Module]:
    layers: dict[str, list[nn.Module]] = {"none": [], "batch": [nn.BatchNorm1d(size)], "layer": [nn.LayerNorm(size)]}
    return layers[kind]
