"""A pair or triplet loss for views of the same samples, without labels."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.losses.wrappers.registry import WRAPPERS
from mlcore.reducers import Reduced


@WRAPPERS.add(
    "self_supervised",
    title="Self-supervised",
    family="wrapper",
    formula=r"L\big([z, z', \dots],\ [1..B, 1..B, \dots]\big)",
    paper="Chen et al., ICML 2020, arXiv:2002.05709, algorithm 1 (for the NT-Xent loss)",
    aliases=("SelfSupervisedLoss (pytorch-metric-learning)",),
)
class SelfSupervisedLoss(nn.Module):
    """Takes two or more views of the same samples; views of one sample are positives, all else is negative.

    What to expect: As good as the augmentations that made the views. `symmetric` lets every view be an anchor and an
    answer; otherwise the first view asks and the others answer.

    Shapes: each view (B, D) float, row by row the same samples.
    Raises: ValueError for views of different shapes, and for a loss with proxies.
    """

    def __init__(
        self,
        loss: nn.Module,
        symmetric: Annotated[bool, Knob("Every view is an anchor, not only the first.")] = True,
    ) -> None:
        super().__init__()
        if hasattr(loss, "proxies"):
            raise ValueError(
                f"SelfSupervisedLoss: loss must compare embeddings with each other; got {type(loss).__name__}, whose "
                "proxies need class labels."
            )
        self.loss = loss
        self.symmetric = symmetric

    def forward(self, embeddings: Tensor, ref_emb: Tensor, *more: Tensor) -> Reduced:
        """Return what the loss returns for the views, labelled by sample."""
        others = (ref_emb, *more)
        if any(view.shape != embeddings.shape for view in others):
            raise ValueError(
                f"SelfSupervisedLoss: views must be of one shape; got {[tuple(view.shape) for view in others]} beside "
                f"{tuple(embeddings.shape)}. Pass the same samples in the same order."
            )
        labels = torch.arange(len(embeddings), device=embeddings.device)
        if self.symmetric:
            return self.loss(torch.cat([embeddings, *others]), labels.repeat(1 + len(others)))
        return self.loss(embeddings, labels, ref_emb=torch.cat(others), ref_labels=labels.repeat(len(others)))
