"""Distances and similarities between two sets of embeddings, as matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.autograd_context import SavedTensors
from mlcore.declare import Knob, Registry

DISTANCES = Registry("distance")

NORMALIZE = Knob("Scale each embedding to length 1 first, in the norm p.")
NORM = Knob("2 is Euclidean, 1 sums the differences.", 1.0, 10.0, symbol="p", title="Norm")
POWER = Knob("Each entry is raised to this power.", 1.0, 4.0)


def at_length_one(rows: Tensor) -> Tensor:
    """As F.normalize over the last dimension, with a third of the passes in the gradient."""
    return LengthOne.apply(rows)


class LengthsContext(SavedTensors, Protocol):
    lengths: Tensor


class LengthOne(torch.autograd.Function):
    """Rows divided by their lengths, of which none counts as less than 1e-12."""

    @staticmethod
    def forward(ctx: LengthsContext, rows: Tensor) -> Tensor:
        ctx.lengths = row_lengths(rows)
        unit = rows / ctx.lengths
        ctx.save_for_backward(rows, unit)
        return unit

    @staticmethod
    def backward(ctx: LengthsContext, upstream: Tensor) -> Tensor:
        rows, unit = ctx.saved_tensors
        products = upstream * unit
        along = products.sum(dim=-1, keepdim=True)
        if torch.is_grad_enabled():
            return (upstream - along * unit) / row_lengths(rows)
        return torch.addcmul(upstream, along, unit, value=-1.0, out=products).div_(ctx.lengths)


def row_lengths(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)


class Distance(nn.Module):
    """What distances share. Where `is_inverted`, large means alike (a similarity)."""

    is_inverted = False

    def __init__(self, normalize_embeddings: bool, p: float, power: float) -> None:
        super().__init__()
        self.normalize_embeddings = normalize_embeddings
        self.p = p
        self.power = power

    def forward(self, query_emb: Tensor, ref_emb: Tensor | None = None) -> Tensor:
        """(B, D) and (N, D) to (B, N); without `ref_emb` the batch against itself."""
        query = self.normalize(query_emb)
        mat = self.matrix(query, query if ref_emb is None else self.normalize(ref_emb))
        return mat if self.power == 1 else mat**self.power

    def pairwise_distance(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """(B, D) and (B, D) to (B,): row by row, the diagonal of `forward` without the rest of the matrix."""
        dists = self.rows(self.normalize(query_emb), self.normalize(ref_emb))
        return dists if self.power == 1 else dists**self.power

    def normalize(self, embeddings: Tensor) -> Tensor:
        if not self.normalize_embeddings:
            return embeddings
        return at_length_one(embeddings) if self.p == 2 else F.normalize(embeddings, p=self.p)

    @overload
    def margin(self, x: Tensor, y: Tensor | float) -> Tensor: ...
    @overload
    def margin(self, x: float, y: Tensor) -> Tensor: ...
    def margin(self, x: Tensor | float, y: Tensor | float) -> Tensor | float:
        """How much farther x is than y: positive when y means more alike."""
        return y - x if self.is_inverted else x - y

    def smallest_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Entry by entry, the one that means more alike."""
        return torch.maximum(x, y) if self.is_inverted else torch.minimum(x, y)

    def largest_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Entry by entry, the one that means less alike."""
        return torch.minimum(x, y) if self.is_inverted else torch.maximum(x, y)

    def matrix(self, query: Tensor, ref: Tensor) -> Tensor:
        raise NotImplementedError

    def rows(self, query: Tensor, ref: Tensor) -> Tensor:
        raise NotImplementedError


@DISTANCES.add(
    "lp",
    title="Euclidean (Lp) distance",
    family="distance",
    formula=r"\lVert q-r\rVert_p",
    aliases=("LpDistance (pytorch-metric-learning)",),
)
class LpDistance(Distance):
    """The straight-line distance between embeddings; 0 to 2 once they are scaled to length 1.

    Identical rows are exactly 0 apart and pass no gradient: the slope of a square root at 0 is infinite. The matrix
    product behind it cannot tell rows apart that are closer than about 0.001 of their length, so those count as
    identical.
    """

    def __init__(
        self,
        *,
        normalize_embeddings: Annotated[bool, NORMALIZE] = True,
        p: Annotated[float, NORM] = 2.0,
        power: Annotated[float, POWER] = 1.0,
    ) -> None:
        super().__init__(normalize_embeddings, p, power)

    def forward(self, query_emb: Tensor, ref_emb: Tensor | None = None) -> Tensor:
        if self.p != 2 or self.power != 2:
            return super().forward(query_emb, ref_emb)
        query = self.normalize(query_emb)
        return EuclideanMatrix.apply(query, query if ref_emb is None else self.normalize(ref_emb), True)

    def matrix(self, query: Tensor, ref: Tensor) -> Tensor:
        if self.p == 2:
            return EuclideanMatrix.apply(query, ref, False)
        return torch.cdist(query, ref, p=self.p)

    def rows(self, query: Tensor, ref: Tensor) -> Tensor:
        return torch.linalg.vector_norm(query - ref, ord=self.p, dim=1)


class EuclideanContext(SavedTensors, Protocol):
    squared: bool


class EuclideanMatrix(torch.autograd.Function):
    """(B, D) and (N, D) to (B, N) distances or their squares, whose gradients are products of matrices as well."""

    @staticmethod
    def forward(ctx: EuclideanContext, query: Tensor, ref: Tensor, squared: bool) -> Tensor:
        mat = torch.cdist(query, ref)
        longest = torch.linalg.vector_norm(query, dim=1).max()
        if ref is not query:
            longest = torch.maximum(longest, torch.linalg.vector_norm(ref, dim=1).max())
        mat.masked_fill_(mat <= 4.0 * torch.finfo(mat.dtype).eps ** 0.5 * longest, 0.0)
        if squared:
            mat.square_()
        ctx.squared = squared
        ctx.save_for_backward(query, ref, mat)
        return mat

    @staticmethod
    def backward(ctx: EuclideanContext, upstream: Tensor) -> tuple[Tensor | None, ...]:
        query, ref, mat = ctx.saved_tensors
        pulls = upstream if ctx.squared else upstream / mat.masked_fill(mat == 0, torch.inf)
        of_query = of_ref = None
        if ctx.needs_input_grad[0]:
            of_query = pulls.sum(dim=1, keepdim=True) * query - pulls @ ref
        if ctx.needs_input_grad[1]:
            of_ref = pulls.sum(dim=0)[:, None] * ref - pulls.T @ query
        if ctx.squared:
            of_query, of_ref = (None if slope is None else 2.0 * slope for slope in (of_query, of_ref))
        return of_query, of_ref, None


@DISTANCES.add(
    "dot_product",
    title="Dot product",
    family="similarity",
    formula=r"q\cdot r",
    aliases=("DotProductSimilarity (pytorch-metric-learning)",),
)
class DotProductSimilarity(Distance):
    """The dot product of embeddings: large means alike. The cosine, unless normalising is switched off."""

    is_inverted = True

    def __init__(
        self,
        *,
        normalize_embeddings: Annotated[bool, NORMALIZE] = True,
        p: Annotated[float, NORM] = 2.0,
        power: Annotated[float, POWER] = 1.0,
    ) -> None:
        super().__init__(normalize_embeddings, p, power)

    def matrix(self, query: Tensor, ref: Tensor) -> Tensor:
        return query @ ref.T

    def rows(self, query: Tensor, ref: Tensor) -> Tensor:
        return (query * ref).sum(dim=1)


@DISTANCES.add(
    "cosine",
    title="Cosine similarity",
    family="similarity",
    formula=r"\cos\theta=\hat q\cdot\hat r",
    aliases=("CosineSimilarity (pytorch-metric-learning)",),
)
class CosineSimilarity(DotProductSimilarity):
    """The cosine of the angle between embeddings: 1 the same direction, 0 at right angles, -1 opposite."""

    def __init__(self, *, power: Annotated[float, POWER] = 1.0) -> None:
        super().__init__(power=power)


@DISTANCES.add(
    "snr",
    title="Signal-to-noise ratio",
    family="distance",
    formula=r"\frac{\operatorname{var}(q-r)}{\operatorname{var}(q)}",
    paper="Yuan et al., CVPR 2019, arXiv:1904.02616",
    aliases=("SNRDistance (pytorch-metric-learning)",),
)
class SNRDistance(Distance):
    """The variance of the difference over the variance of the query, both over the columns: 0 for identical rows.

    Not symmetric: the row that asks is the signal. A row whose entries are all equal has no signal and no ratio; it is
    divided by 1, so that its distances stay finite. Written as distances between rows less their own mean, which is
    the same and needs no (B, N, D) tensor.
    """

    def __init__(
        self,
        *,
        normalize_embeddings: Annotated[bool, NORMALIZE] = True,
        p: Annotated[float, NORM] = 2.0,
        power: Annotated[float, POWER] = 1.0,
    ) -> None:
        super().__init__(normalize_embeddings, p, power)

    def matrix(self, query: Tensor, ref: Tensor) -> Tensor:
        signal, other = center_rows(query), center_rows(ref)
        noise = signal.square().sum(dim=1, keepdim=True) + other.square().sum(dim=1) - 2.0 * signal @ other.T  # (B, N)
        return noise.clamp_min(0.0) / self.strength(query, signal)[:, None]

    def rows(self, query: Tensor, ref: Tensor) -> Tensor:
        return center_rows(query - ref).square().sum(dim=1) / self.strength(query, center_rows(query))

    def strength(self, query: Tensor, signal: Tensor) -> Tensor:
        """(B,): the summed squares of each signal, 1 where there is none but rounding."""
        strength = signal.square().sum(dim=1)
        with torch.no_grad():
            speaks = strength > torch.finfo(query.dtype).eps * query.square().sum(dim=1)
        return torch.where(speaks, strength, 1.0)


def center_rows(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=1, keepdim=True)


@DISTANCES.add(
    "batched",
    title="Batched",
    family="wrapper",
    aliases=("BatchedDistance (pytorch-metric-learning)",),
)
class BatchedDistance(nn.Module):
    """Another distance, computed for a few queries at a time, so that a long gallery needs no whole matrix.

    `iter_fn(mat, start, end)` is given each block of rows and is expected to reduce it; nothing is returned then.
    Without it the blocks are joined to the whole matrix, which only spares the memory that the distance itself needs
    on the way. `end` never lies beyond the last query (pytorch-metric-learning's may). All else, such as `margin` and
    `is_inverted`, is that of `distance`.
    """

    def __init__(
        self,
        distance: nn.Module | None = None,
        iter_fn: Callable[[Tensor, int, int], None] | None = None,
        batch_size: Annotated[int, Knob("Queries at a time.", 1, 1_000_000)] = 32,
    ) -> None:
        super().__init__()
        self.distance = distance or LpDistance()
        self.iter_fn = iter_fn
        self.batch_size = batch_size

    def forward(self, query_emb: Tensor, ref_emb: Tensor | None = None) -> Tensor | None:
        """(B, D) and (N, D) to (B, N), or None when `iter_fn` takes the blocks."""
        reference = query_emb if ref_emb is None else ref_emb
        blocks = []
        for start in range(0, len(query_emb), self.batch_size):
            end = min(start + self.batch_size, len(query_emb))
            mat = self.distance(query_emb[start:end], reference)
            if self.iter_fn is None:
                blocks.append(mat)
            else:
                self.iter_fn(mat, start, end)
        return torch.cat(blocks) if self.iter_fn is None else None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("distance"), name)
