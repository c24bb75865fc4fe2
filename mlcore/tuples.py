"""Pairs and triplets of batch positions: what miners give and losses take."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """Positive pairs (anchors[i], positives[i]) and negative pairs (anchors_of_negatives[j], negatives[j]).

    Four 1-D long tensors; anchors are positions in the batch, the others in the reference (the batch itself
    when there is none).
    """

    anchors: Tensor
    positives: Tensor
    anchors_of_negatives: Tensor
    negatives: Tensor


class Triplets(NamedTuple):
    """Triplets (anchors[i], positives[i], negatives[i]): three 1-D long tensors of one length."""

    anchors: Tensor
    positives: Tensor
    negatives: Tensor


Miner = Callable[..., tuple[Tensor, ...] | None]  # of (embeddings, labels) and perhaps a reference with its labels


def as_tuples(indices_tuple: tuple[Tensor, ...]) -> Pairs | Triplets:
    """`indices_tuple` under its name; a plain tuple is taken as pytorch-metric-learning does: 3 are triplets, 4 pairs.

    Raises: ValueError if it is neither, or its tensors are not of equal lengths where they must be.
    """
    if isinstance(indices_tuple, Pairs | Triplets):
        return indices_tuple
    lengths = [len(part) for part in indices_tuple]
    if len(lengths) == 3 and len(set(lengths)) == 1:
        return Triplets(*indices_tuple)
    if len(lengths) == 4 and lengths[0] == lengths[1] and lengths[2] == lengths[3]:
        return Pairs(*indices_tuple)
    raise ValueError(
        f"indices_tuple: must be 3 tensors of one length (triplets) or 2 + 2 (pairs); got lengths {lengths}. "
        "Pass what a miner returns, or Triplets(...) or Pairs(...) from mlcore.tuples."
    )


def label_masks(labels: Tensor, ref_labels: Tensor | None = None, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(B, N) masks: which reference items are positives of each anchor, and which are negatives.

    Without `ref_labels` the batch is its own reference and no item is its own positive; nor is any in a reference where
    it stands itself, at the place that `own` (B,) says.
    """
    same = labels[:, None] == (labels if ref_labels is None else ref_labels)[None, :]
    different = ~same
    if own is not None:
        same[torch.arange(len(labels), device=labels.device), own] = False
    elif ref_labels is None:
        same.fill_diagonal_(False)
    return same, different


def all_pairs(labels: Tensor, ref_labels: Tensor | None = None, own: Tensor | None = None) -> Pairs:
    """Every positive and every negative pair that the labels allow; `own` as in `label_masks`."""
    same, different = label_masks(labels, ref_labels, own)
    return Pairs(*same.nonzero(as_tuple=True), *different.nonzero(as_tuple=True))


def all_triplets(labels: Tensor, ref_labels: Tensor | None = None) -> Triplets:
    """Every triplet that the labels allow: their number grows with the cube of the batch, and losses do without."""
    return to_triplets(all_pairs(labels, ref_labels))


def to_pairs(indices_tuple: tuple[Tensor, ...]) -> Pairs:
    """Triplets as pairs: each triplet gives its positive and its negative pair, repeats kept."""
    tuples = as_tuples(indices_tuple)
    if isinstance(tuples, Pairs):
        return tuples
    return Pairs(tuples.anchors, tuples.positives, tuples.anchors, tuples.negatives)


def to_triplets(indices_tuple: tuple[Tensor, ...]) -> Triplets:
    """Pairs as triplets: each positive pair joined with every negative pair of the same anchor."""
    tuples = as_tuples(indices_tuple)
    if isinstance(tuples, Triplets):
        return tuples
    anchors, positives, anchors_of_negatives, negatives = tuples
    if len(anchors) == 0 or len(negatives) == 0:
        empty = anchors.new_empty(0)
        return Triplets(empty, empty.clone(), empty.clone())
    rows = 1 + int(torch.maximum(anchors.max(), anchors_of_negatives.max()))
    by_anchor = negatives[anchors_of_negatives.argsort(stable=True)]
    how_many = torch.bincount(anchors_of_negatives, minlength=rows)
    start = how_many.cumsum(0) - how_many
    repeats = how_many[anchors]  # negatives of each positive pair's anchor
    ends = repeats.cumsum(0)
    pair = torch.repeat_interleave(repeats)  # the positive pair of each triplet
    within = torch.arange(len(pair), device=pair.device) - (ends - repeats)[pair]
    return Triplets(anchors[pair], positives[pair], by_anchor[start[anchors[pair]] + within])


def tuple_masks(indices_tuple: tuple[Tensor, ...], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(B, N) masks of the positive and the negative pairs in `indices_tuple`; a repeated pair counts once."""
    pairs = to_pairs(indices_tuple)
    positive = torch.zeros(shape, dtype=torch.bool, device=pairs.anchors.device)
    negative = torch.zeros_like(positive)
    positive[pairs.anchors, pairs.positives] = True
    negative[pairs.anchors_of_negatives, pairs.negatives] = True
    return positive, negative


def sample_weights(
    indices_tuple: tuple[Tensor, ...] | None, batch_size: int, like: Tensor, anchors_only: bool = False
) -> Tensor:
    """(B,) weight of each sample: how often it stands in `indices_tuple`, over the count of the most frequent one.

    `anchors_only` is for tuples whose positives and negatives are positions in a reference, not in the batch.

    All ones without a tuple. All zeros for an empty one: a miner that found nothing asks for no step
    (pytorch-metric-learning gives ones there). Dtype and device are those of `like`.
    """
    if indices_tuple is None:
        return like.new_ones(batch_size)
    tuples = as_tuples(indices_tuple)
    columns: tuple[Tensor, ...] = tuple(tuples)
    if anchors_only:
        columns = tuples[:1] if isinstance(tuples, Triplets) else (tuples[0], tuples[2])
    positions = torch.cat(columns)
    counts = torch.bincount(positions, minlength=batch_size).to(like.dtype)
    return counts / counts.max().clamp_min(1.0)
