"""VICReg: two views alike, every dimension spread out, no two dimensions saying the same."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.losses.inputs import outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.losses.two_view_inputs import check_views
from mlcore.reducers import MeanReducer, Reduced, Reducer

FEW = 4  # pairs per row up to which their differences are taken one by one


@LOSSES.add(
    "vicreg",
    title="VICReg",
    family="views",
    formula=(
        r"\frac{\lambda}{D}\lVert z-z'\rVert^2"
        r"+\frac{\mu}{2D}\sum_{z,z'}\sum_d\Big[1-\sqrt{\mathrm{Var}(z_d)+\epsilon}\Big]_+"
        r"+\frac{\nu}{D}\sum_{z,z'}\sum_{i\ne j}\mathrm{Cov}(z)_{ij}^2"
    ),
    paper="Bardes, Ponce and LeCun, ICLR 2022, arXiv:2105.04906",
    aliases=("VICRegLoss (pytorch-metric-learning, lightly)", "variance-invariance-covariance"),
    unpictured=(
        "Its terms are about a whole batch: how far each dimension spreads, and how dimensions go together. "
        "One anchor with two others shows none of that."
    ),
)
class VICRegLoss(nn.Module):
    """Brings two views of a sample together, and keeps all from collapsing by spreading every dimension on its own.

    No negatives, no normalising, no temperature. The variance terms of the two views are averaged, as in the authors'
    code that the usual weights belong to; the paper's text adds them up (double `variance_mu` for that).

    What to expect: Made for training without labels, with a wide embedding and a large batch. With labels and no second
    view, images of one class are views of each other. Lengths matter: dimensions are spread to a deviation of 1.

    Shapes: embeddings (B, D) float, not normalised. With ref_emb (B, D) alone row i is the other view of row i; with
    labels (B,) and ref_labels (N,), or labels alone, rows of one label belong together; a miner's positive pairs do
    where tuples are given. A single row has no variance, and empty tuples ask for no step.
    """

    compares_views = "each view has variance and covariance terms of its own"
    without_anchors = "variance and covariance are those of the whole batch"
    depends_on_length = "every dimension is spread to a standard deviation of 1"
    overflows = "squared covariances are fourth powers of the lengths"

    def __init__(
        self,
        *,
        invariance_lambda: Annotated[
            float,
            Knob(
                "Weight of the distance between two views.", 0.0, 100.0, symbol=r"\lambda", title="Weight of invariance"
            ),
        ] = 25.0,
        variance_mu: Annotated[
            float, Knob("Weight of spreading every dimension.", 0.0, 100.0, symbol=r"\mu", title="Weight of variance")
        ] = 25.0,
        covariance_v: Annotated[
            float, Knob("Weight of taking dimensions apart.", 0.0, 100.0, symbol=r"\nu", title="Weight of covariance")
        ] = 1.0,
        eps: Annotated[
            float,
            Knob(
                "Added to the variance, so that its root has a slope.",
                1e-8,
                0.1,
                symbol=r"\epsilon",
                log=True,
                title="Added to the variance",
            ),
        ] = 1e-4,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.invariance_lambda = invariance_lambda
        self.variance_mu = variance_mu
        self.covariance_v = covariance_v
        self.eps = eps
        self.reducer = reducer or MeanReducer()

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the weighted sum of the three terms, a scalar."""
        batch = check_views(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        one = batch.embeddings
        other = one if batch.ref_emb is None else batch.ref_emb
        positive, _ = batch.masks()
        if batch.indices_tuple is not None and not bool(positive.any()):
            one, other = one[:0], other[:0]
            positive = positive[:0, :0]
        one_terms, other_terms = (self.terms(view) for view in (one, other))
        parts = {
            "invariance_loss": self.invariance_lambda * mean_square_differences(one, other, positive),
            "variance_loss1": 0.5 * self.variance_mu * one_terms[0],
            "variance_loss2": 0.5 * self.variance_mu * other_terms[0],
            "covariance_loss": self.covariance_v * (one_terms[1] + other_terms[1]),
        }
        return self.reducer(parts, batch.embeddings)

    def terms(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """How far each dimension's deviation falls short of 1 (D,), and the covariances' sum of squares over D (1,).

        Both empty for a single row.
        """
        if len(rows) < 2:
            return rows.new_zeros(0), rows.new_zeros(0)
        centred = rows - rows.mean(dim=0)
        covariance = centred.T @ centred / (len(rows) - 1)
        short = F.relu(1.0 - (covariance.diagonal() + self.eps).sqrt())
        own = torch.eye(rows.shape[1], dtype=torch.bool, device=rows.device)
        return short, (covariance.masked_fill(own, 0.0).square().sum() / rows.shape[1])[None]


def mean_square_differences(one: Tensor, other: Tensor, positive: Tensor) -> Tensor:
    """For each pair in the (B, N) mask the mean over the dimensions of the squared differences.

    Where pairs are many, from a matrix product about the common mean: the differences themselves would not fit.
    """
    anchors, positives = positive.nonzero(as_tuple=True)
    if len(anchors) <= FEW * len(one):
        return (one[anchors] - other[positives]).square().mean(dim=1)
    middle = torch.cat([one, other]).detach().mean(dim=0)
    one, other = one - middle, other - middle
    lengths = one.square().mean(dim=1)[:, None] + other.square().mean(dim=1)
    return (lengths - 2.0 / one.shape[1] * (one @ other.T))[anchors, positives]
