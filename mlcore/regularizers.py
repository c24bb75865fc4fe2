"""Regularizers: what is asked of embeddings or proxies by themselves, added to a loss with a small weight.

A loss takes them as `embedding_regularizer=` and `weight_regularizer=` (losses/registry.py).
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob, Registry
from mlcore.reducers import MeanReducer, Reduced, Reducer
from mlcore.traits import RegularizerTrait

REGULARIZERS = Registry("regularizer", traits=RegularizerTrait)

BLOCK = 2**22  # entries of a matrix of proxies against proxies that are held at once


class Regularizer(nn.Module):
    """What regularizers share: one loss per item, reduced to one number."""

    def __init__(self, reducer: Reducer | None) -> None:
        super().__init__()
        self.reducer = reducer or MeanReducer()

    def forward(self, rows: Tensor) -> Reduced:
        """(N, D) embeddings or proxies, or (C, K, D) proxies with K centres per class, to a scalar.

        Raises: ValueError for another shape, or no rows.
        """
        if rows.ndim not in (2, 3) or not rows.is_floating_point() or rows.numel() == 0:
            raise ValueError(
                f"{type(self).__name__}: must be given rows of shape (rows, embedding_size), at least one; "
                f"got {rows.dtype} of shape {tuple(rows.shape)}."
            )
        with torch.autocast(rows.device.type, enabled=False):
            exact = rows.flatten(0, -2)
            exact = exact if exact.dtype == torch.float64 else exact.float()
            return self.reducer({"loss": self.losses(exact)}, exact)

    def losses(self, rows: Tensor) -> Tensor:
        raise NotImplementedError


@REGULARIZERS.add(
    "lp",
    title="Length (Lp norm)",
    family="embeddings",
    formula=r"\lVert x\rVert_p^{q}",
    aliases=("LpRegularizer (pytorch-metric-learning)", "l2_reg_weight of N-pairs"),
)
class LpRegularizer(Regularizer):
    """Keeps embeddings short, for losses that compare them as they are, not scaled to length 1.

    What to expect: Needed where a loss can be lowered by mere length (N-pairs, dot products). No effect on the angles.

    Shapes: rows (N, D). A row of zeros has no slope.
    """

    def __init__(
        self,
        *,
        p: Annotated[
            float, Knob("2 is Euclidean, 1 sums the absolute values.", 1.0, 10.0, symbol="p", title="Norm")
        ] = 2.0,
        power: Annotated[float, Knob("The norm is raised to this power.", 1.0, 4.0, symbol="q")] = 1.0,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__(reducer)
        self.p = p
        self.power = power

    def losses(self, rows: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(rows, ord=self.p, dim=1)
        return norms if self.power == 1 else norms**self.power


@REGULARIZERS.add(
    "zero_mean",
    title="Zero mean",
    family="embeddings",
    formula=r"\Big|\sum_d x_d\Big|",
    paper="Yuan et al., CVPR 2019, eq. 11 (for the SNR distance)",
    aliases=("ZeroMeanRegularizer (pytorch-metric-learning)",),
)
class ZeroMeanRegularizer(Regularizer):
    """Keeps the numbers of each embedding around zero, so that their variance is their energy.

    What to expect: Goes with the SNR distance, which reads an embedding as a signal around zero.

    Shapes: rows (N, D).
    """

    def __init__(self, *, reducer: Reducer | None = None) -> None:
        super().__init__(reducer)

    def losses(self, rows: Tensor) -> Tensor:
        return rows.sum(dim=1).abs()


@REGULARIZERS.add(
    "center_invariant",
    title="Center invariant",
    family="proxies",
    formula=r"\tfrac14\Big(\lVert w_c\rVert^2-\tfrac1C\sum_k\lVert w_k\rVert^2\Big)^2",
    paper="Wu et al., ACM Multimedia Thematic Workshops 2017, eq. 5",
    aliases=("CenterInvariantRegularizer (pytorch-metric-learning)", "center invariant loss"),
    traits=(RegularizerTrait.IN_A_RUN,),
)
class CenterInvariantRegularizer(Regularizer):
    """Gives all proxies one length, so that classes with many samples are not favoured.

    What to expect: Works on losses that use the proxies' lengths (softmax); where proxies are scaled to length 1 it
    changes nothing.

    Shapes: rows (C, D).
    """

    def __init__(self, *, reducer: Reducer | None = None) -> None:
        super().__init__(reducer)

    def losses(self, rows: Tensor) -> Tensor:
        squares = rows.square().sum(dim=1)
        return (squares - squares.mean()).square() / 4.0


@REGULARIZERS.add(
    "regular_face",
    title="RegularFace",
    family="proxies",
    formula=r"\max_{k\ne c}\cos(w_c,w_k)",
    paper="Zhao, Xu and Cheng, CVPR 2019, eq. 5",
    aliases=("RegularFaceRegularizer (pytorch-metric-learning)", "exclusive regularization"),
    traits=(RegularizerTrait.IN_A_RUN,),
)
class RegularFaceRegularizer(Regularizer):
    """Pushes each proxy away from the proxy nearest to it in angle.

    What to expect: Spreads the classes evenly. Similar classes are pushed apart as hard as any; keep the weight small.

    Shapes: rows (C, D). One proxy alone loses nothing. The nearest ones are looked up block by block.
    """

    def __init__(self, *, reducer: Reducer | None = None) -> None:
        super().__init__(reducer)

    def losses(self, rows: Tensor) -> Tensor:
        if len(rows) < 2:
            return rows.sum(dim=1) * 0.0
        unit = F.normalize(rows)
        with torch.no_grad():
            places, nearest = torch.arange(len(unit), device=unit.device), []
            for own in places.split(max(1, BLOCK // len(unit))):
                cosines = unit[own] @ unit.T
                cosines[own - own[0], own] = -torch.inf
                nearest.append(cosines.argmax(dim=1))
        return (unit * unit[torch.cat(nearest)]).sum(dim=1)


@REGULARIZERS.add(
    "sparse_centers",
    title="Sparse centers",
    family="proxies",
    formula=r"\frac{1}{CK(K-1)}\sum_c\sum_{t<s}\sqrt{2-2\,\hat w_{ct}\cdot\hat w_{cs}}",
    paper="Qian et al., ICCV 2019, arXiv:1909.05235, eqs. 8 and 9",
    aliases=("SparseCentersRegularizer (pytorch-metric-learning)", "tau of SoftTriple"),
)
class SparseCentersRegularizer(Regularizer):
    """Draws the centres of one class together, so that it keeps only as many as it needs.

    Its usual weight is 0.2. Centres that coincide pass no gradient: the slope of the root is infinite there.

    What to expect: Start with more centres than you think there are; they merge.

    Shapes: rows (C * K, D), the K centres of a class one after the other, or (C, K, D).
    Raises: ValueError for another number of rows.
    """

    def __init__(self, num_classes: int, centers_per_class: int, *, reducer: Reducer | None = None) -> None:
        super().__init__(reducer)
        if centers_per_class < 2:
            raise ValueError(
                f"sparse_centers: centers_per_class must be at least 2; got {centers_per_class}. "
                "With one centre per class leave the regularizer out."
            )
        self.num_classes = num_classes
        self.centers_per_class = centers_per_class

    def losses(self, rows: Tensor) -> Tensor:
        if len(rows) != self.num_classes * self.centers_per_class:
            raise ValueError(
                f"sparse_centers: needs {self.num_classes} x {self.centers_per_class} centres; got {len(rows)}. "
                "Build it with the num_classes and centers_per_class of the loss."
            )
        unit = F.normalize(rows).unflatten(0, (self.num_classes, self.centers_per_class))
        one, other = torch.triu_indices(self.centers_per_class, self.centers_per_class, offset=1, device=rows.device)
        cosines = (unit @ unit.mT)[:, one, other]  # (C, pairs)
        square = 2.0 - 2.0 * cosines
        least = 16.0 * torch.finfo(rows.dtype).eps
        return 0.5 * torch.where(square > least, square.clamp_min(least).sqrt(), 0.0).flatten()


@REGULARIZERS.add(
    "proxy_orthogonality",
    title="Proxy orthogonality",
    family="proxies",
    formula=r"\frac1C\sum_c\big(1-\lVert w_c\rVert^2\big)^2+\frac{1}{2(C-1)}\sum_{c<k}(w_c\cdot w_k)^2",
    aliases=("ortho_weight (dml-tf)",),
    traits=(RegularizerTrait.IN_A_RUN,),
)
class ProxyOrthogonalityRegularizer(Regularizer):
    """Brings the proxies to length 1 and at right angles to each other.

    What to expect: Meant for proxies that are not scaled to length 1 by the loss; usual weight 0.1. More classes than
    dimensions cannot all be at right angles, and share the rest evenly.

    Shapes: rows (C, D). Never holds a matrix of proxies against proxies.
    """

    def __init__(self, *, reducer: Reducer | None = None) -> None:
        super().__init__(reducer)

    def losses(self, rows: Tensor) -> Tensor:
        squares = rows.square().sum(dim=1)
        products = ((rows @ (rows.T @ rows)) * rows).sum(dim=1) - squares.square()  # sum of (w_c . w_k)^2 over k
        count = len(rows)
        return (1.0 - squares).square() + products * (count / (4.0 * max(1, count - 1)))
