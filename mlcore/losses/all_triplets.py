"""The triplet loss over all triplets of a batch, from the matrix of distances, without a list of triplets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcore.autograd_context import SavedTensors
from mlcore.reducers import Sums

BLOCK = 2**18  # entries of a block: a few of them stay in a processor's cache


def sum_over_all_triplets(
    mat: Tensor, ref_mat: Tensor | None, same: Tensor, different: Tensor, margin: float, smooth: bool
) -> Sums:
    """Sum over all (a, p, n) of relu or softplus of mat[a, p] - min(mat[a, n], ref_mat[p, n]) + margin.

    Shapes: mat, same and different (B, N), large means far; ref_mat (N, N) or None for no swap.
    """
    count = (same.sum(dim=1) * different.sum(dim=1)).sum()
    if ref_mat is None and not smooth:
        return hinge_sums(mat, same, different, margin, count)
    return block_sums(mat, ref_mat, same, different, margin, smooth, count)


def hinge_sums(mat: Tensor, same: Tensor, different: Tensor, margin: float, count: Tensor) -> Sums:
    """By counting: the sum is linear in the distances, once it is known which triplets violate the margin.

    A positive's factor is the number of negatives closer than itself plus the margin; a negative's is minus the number
    of positives that it is too close for. Both follow from where each negative falls among the row's sorted positives.
    """
    with torch.no_grad():
        factors = hinge_factors(mat, same, different, margin)
        violating = factors.clamp_min(0.0).sum(dtype=torch.float64).long()
    return Sums((factors * mat).sum() + margin * violating, count, violating)


def hinge_factors(mat: Tensor, same: Tensor, different: Tensor, margin: float) -> Tensor:
    """(B, N): the derivative of the summed hinge by each distance, a whole number."""
    anchors, positives = same.nonzero(as_tuple=True)
    if len(anchors) == 0:
        return torch.zeros_like(mat)
    per_row = same.sum(dim=1)
    most = int(per_row.max())
    slot = torch.arange(len(anchors), device=mat.device) - (per_row.cumsum(0) - per_row)[anchors]
    limits = mat.new_full((len(mat), most), -torch.inf)  # -inf stands where a row has fewer positives
    limits[anchors, slot] = mat[anchors, positives] + margin
    limits, order = limits.sort(dim=1)
    passed = torch.searchsorted(limits, mat, right=True)  # (B, N) limits at or below each distance
    from_negatives = (passed - most).to(mat.dtype).masked_fill(~different, 0.0)
    closer = mat.new_zeros((len(mat), most + 1)).scatter_add_(1, passed, different.to(mat.dtype)).cumsum(dim=1)
    of_slot = torch.empty_like(limits).scatter_(1, order, closer[:, :most])
    factors = from_negatives
    factors[anchors, positives] = of_slot[anchors, slot]
    return factors


def block_sums(
    mat: Tensor, ref_mat: Tensor | None, same: Tensor, different: Tensor, margin: float, smooth: bool, count: Tensor
) -> Sums:
    """Block after block of positive pairs against all negatives, each with its gradient, so that none is kept."""
    anchors, positives = same.nonzero(as_tuple=True)
    with torch.no_grad():
        slopes = torch.zeros_like(mat)
        ref_slopes = mat.new_zeros(0) if ref_mat is None else torch.zeros_like(ref_mat)
        total = mat.new_zeros((), dtype=torch.float64)
        violating = torch.zeros((), dtype=torch.long, device=mat.device)
        rows = max(1, BLOCK // mat.shape[1])
        for a, p in zip(anchors.split(rows), positives.split(rows), strict=True):
            closest = mat[a]  # (R, N)
            if ref_mat is not None:
                from_positive = ref_mat[p]
                swapped = from_positive < closest
                closest = torch.where(swapped, from_positive, closest)
            violation = (mat[a, p] + margin)[:, None] - closest
            losses = F.softplus(violation) if smooth else F.relu(violation)
            losses = losses.masked_fill_(~different[a], 0.0)
            total += losses.sum(dtype=torch.float64)
            violating += losses.count_nonzero()
            slope = violation.sigmoid() if smooth else (violation > 0).to(mat.dtype)
            slope.masked_fill_(~different[a], 0.0)
            slopes.index_put_((a, p), slope.sum(dim=1), accumulate=True)
            if ref_mat is None:
                slopes.index_add_(0, a, slope, alpha=-1.0)
            else:
                slopes.index_add_(0, a, slope.masked_fill(swapped, 0.0), alpha=-1.0)
                ref_slopes.index_add_(0, p, slope.masked_fill(~swapped, 0.0), alpha=-1.0)
    if smooth:
        value = KnownGradient.apply(mat, slopes, total.to(mat.dtype))
        if ref_mat is not None:
            value = value + KnownGradient.apply(ref_mat, ref_slopes, torch.zeros_like(value))
        return Sums(value, count, violating)
    value = (slopes * mat).sum() + margin * violating
    return Sums(value if ref_mat is None else value + (ref_slopes * ref_mat).sum(), count, violating)


class KnownGradient(torch.autograd.Function):
    """A value whose gradient by `mat` was found together with it."""

    @staticmethod
    def forward(ctx: SavedTensors, mat: Tensor, slopes: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(slopes)
        return value.clone()

    @staticmethod
    def backward(ctx: SavedTensors, upstream: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "TripletMarginLoss: smooth_loss over all triplets has no second derivative. "
                "Pass indices_tuple=all_triplets(labels), which has one and needs more memory."
            )
        (slopes,) = ctx.saved_tensors
        return upstream * slopes, None, None
