"""Soft ranks: how many of an anchor's items stand before each of its positives, counted with sigmoids."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlcore.autograd_context import SavedTensors
from mlcore.distances import Distance
from mlcore.losses.inputs import PairInputs
from mlcore.reducers import Items

BLOCK = 2**18  # entries of a block: a few of them stay in a processor's cache


def to_similarity(distance: Distance, batch: PairInputs) -> Tensor:
    """(B, N): the similarities, or the distances turned round. Large always means alike."""
    mat = distance(batch.embeddings, batch.ref_emb)
    return mat if distance.is_inverted else -mat


def soft_ranks(mat: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """For each positive pair (a, p): a, and how many other positives and how many negatives stand before p.

    Standing before is the sigmoid of the lead over the temperature: one half for a tie. The cube of comparisons goes
    block by block, and again in the backward pass, so none is kept.

    Shapes: mat (B, N), large means alike; masks (B, N); three results of one length, the number of positive pairs.
    """
    anchors, positives = positive.nonzero(as_tuple=True)
    among = positive.to(mat.dtype), negative.to(mat.dtype)  # to multiply by numbers is 20 times faster than by truths
    before = RanksBefore.apply(mat, anchors, positives, *among, temperature)  # (M, 2)
    return anchors, before[:, 0], before[:, 1]


def mean_by_anchor(values: Tensor, anchors: Tensor, how_many: Tensor) -> Tensor:
    """(B,) mean of the values of each anchor's pairs, 0 where it has none."""
    total = values.new_zeros(len(how_many)).index_add(0, anchors, values)
    return total / how_many.clamp_min(1)


def anchor_items(losses: Tensor, listed: Tensor, labels: Tensor | None) -> Items:
    """The losses of the anchors in the mask (B,), and whose they are."""
    return Items(losses[listed], listed.nonzero()[:, 0], labels)


class RanksContext(SavedTensors, Protocol):
    temperature: float


class RanksBefore(torch.autograd.Function):
    """(M, 2): the sums of sigmoids over the anchor's other positives, and over its negatives."""

    @staticmethod
    def forward(
        ctx: RanksContext,
        mat: Tensor,
        anchors: Tensor,
        positives: Tensor,
        positive: Tensor,
        negative: Tensor,
        temperature: float,
    ) -> Tensor:
        ctx.save_for_backward(mat, anchors, positives, positive, negative)
        ctx.temperature = temperature
        pieces = [
            torch.stack([(lead * positive[a]).sum(dim=1) - 0.5, (lead * negative[a]).sum(dim=1)], dim=1)
            for a, p in pair_blocks(anchors, positives, mat.shape[1])
            for lead in (((mat[a] - mat[a, p][:, None]) / temperature).sigmoid_(),)
        ]
        return torch.cat(pieces) if pieces else mat.new_zeros((0, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: RanksContext, upstream: Tensor) -> tuple[Tensor | None, ...]:
        mat, anchors, positives, positive, negative = ctx.saved_tensors
        slopes = torch.zeros_like(mat)
        rows = zip(
            pair_blocks(anchors, positives, mat.shape[1]), upstream.split(block_rows(mat.shape[1])), strict=False
        )
        for (a, p), given in rows:
            lead = ((mat[a] - mat[a, p][:, None]) / ctx.temperature).sigmoid_()
            slope = lead * (1.0 - lead) / ctx.temperature
            slope = slope * (given[:, :1] * positive[a] + given[:, 1:] * negative[a])
            slopes.index_add_(0, a, slope)
            slopes.index_put_((a, p), -slope.sum(dim=1), accumulate=True)
        return slopes, None, None, None, None, None


def block_rows(width: int) -> int:
    return max(1, BLOCK // width)


def pair_blocks(anchors: Tensor, positives: Tensor, width: int) -> list[tuple[Tensor, Tensor]]:
    if len(anchors) == 0:
        return []
    rows = block_rows(width)
    return list(zip(anchors.split(rows), positives.split(rows), strict=True))
