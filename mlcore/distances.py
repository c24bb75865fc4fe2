"""Distances and similarities between two sets of embeddings, as matrices."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob, Registry

DISTANCES = Registry("distance")

NORMALIZE = Knob("Scale each embedding to length 1 first, in the norm p.")
NORM = Knob("Which norm: 2 is Euclidean, 1 sums the differences.", 1.0, 10.0, symbol="p")
POWER = Knob("Each entry is raised to this power.", 1.0, 4.0)


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

    def normalize(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, p=self.p) if self.normalize_embeddings else embeddings

    def margin(self, x: Tensor, y: Tensor) -> Tensor:
        """How much farther x is than y: positive when y means more alike."""
        return y - x if self.is_inverted else x - y

    def smallest_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Entry by entry, the one that means more alike."""
        return torch.maximum(x, y) if self.is_inverted else torch.minimum(x, y)

    def matrix(self, query: Tensor, ref: Tensor) -> Tensor:
        raise NotImplementedError


@DISTANCES.add(
    "lp",
    title="Euclidean (Lp) distance",
    family="distance",
    formula=r"\lVert q-r\rVert_p",
    names=("LpDistance (pytorch-metric-learning)",),
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

    def matrix(self, query: Tensor, ref: Tensor) -> Tensor:
        mat = torch.cdist(query, ref, p=self.p)
        if self.p != 2:
            return mat
        with torch.no_grad():
            square = torch.maximum(query.square().sum(1).max(), ref.square().sum(1).max())
            apart = mat > (16.0 * torch.finfo(mat.dtype).eps * square).sqrt()
        return torch.where(apart, mat, 0.0)


@DISTANCES.add(
    "dot_product",
    title="Dot product",
    family="similarity",
    formula=r"q\cdot r",
    names=("DotProductSimilarity (pytorch-metric-learning)",),
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


@DISTANCES.add(
    "cosine",
    title="Cosine similarity",
    family="similarity",
    formula=r"\cos\theta=\hat q\cdot\hat r",
    names=("CosineSimilarity (pytorch-metric-learning)",),
)
class CosineSimilarity(DotProductSimilarity):
    """The cosine of the angle between embeddings: 1 the same direction, 0 at right angles, -1 opposite."""

    def __init__(self, *, power: Annotated[float, POWER] = 1.0) -> None:
        super().__init__(power=power)
