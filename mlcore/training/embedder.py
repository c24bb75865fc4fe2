"""A backbone and a head: images in, embeddings out."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from mlcore.runs.spec import HeadChoice


class Embedder(nn.Module):
    """`head(backbone(images))`; embeddings are not normalised here, losses and testers do that.

    `freeze`: "nothing"; "batch_norm" keeps the backbone's batch-norm statistics as they were loaded (its weights
    train); "everything" trains the head only.

    Shapes: images (B, channels, h, w) float, normalised for the backbone -> (B, embedding_size).
    """

    def __init__(self, backbone: nn.Module, head: HeadChoice, freeze: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.head, self.embedding_size = build_head(head, backbone.feature_size)
        self.freeze = freeze
        self.backbone.requires_grad_(freeze != "everything")
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze == "everything":
            self.backbone.eval()
        elif self.freeze == "batch_norm":
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def build_head(head: HeadChoice, feature_size: int) -> tuple[nn.Module, int]:
    """The head and the length of its embeddings; "none" passes the backbone's features on."""
    if head.kind == "none":
        return nn.Identity(), feature_size
    if head.kind == "linear":
        return nn.Linear(feature_size, head.embedding_size), head.embedding_size
    hidden = max(feature_size, head.embedding_size)
    layers = nn.Sequential(nn.Linear(feature_size, hidden), nn.ReLU(), nn.Linear(hidden, head.embedding_size))
    return layers, head.embedding_size
