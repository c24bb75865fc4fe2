"""Losses of two views: which rows of the other view belong to each row of this one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlcore.losses.inputs import PairInputs, check_pairs


def check_views(
    owner: nn.Module,
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: tuple[Tensor, ...] | None,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
) -> PairInputs:
    """The checked arguments of a two-view loss: row by row with `ref_emb` and no labels, else by label.

    Without `ref_emb` the batch is its own second view, and images of one class belong together.

    Raises: ValueError as `check_pairs` does, and if views without labels are not of one length.
    """
    unlabelled = labels is None and ref_labels is None and indices_tuple is None
    if unlabelled and ref_emb is not None and ref_emb is not embeddings:
        if len(ref_emb) != len(embeddings):
            raise ValueError(
                f"{type(owner).__name__}: without labels, ref_emb must hold the other view of each row of embeddings "
                f"({len(embeddings)}); got {len(ref_emb)} rows. Pass as many, or labels and ref_labels."
            )
        labels = ref_labels = torch.arange(len(embeddings), device=embeddings.device)
    return check_pairs(owner, embeddings, labels, indices_tuple, ref_emb, ref_labels)
