"""Lifted structure: each positive pair against all negatives of both its ends."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, MeanReducer, Reduced, Reducer


@LOSSES.add(
    "lifted_structure",
    title="Lifted structure",
    family="pair",
    formula=(r"\tfrac12\Big[\log\Big(\sum_{n}e^{m_n-d_{an}}+\sum_{n}e^{m_n-d_{pn}}\Big)+d_{ap}-m_p\Big]_+^2"),
    paper="Oh Song et al., CVPR 2016, arXiv:1511.06452",
    aliases=("LiftedStructureLoss (pytorch-metric-learning)",),
)
class LiftedStructureLoss(nn.Module):
    """Asks each positive pair to be shorter than the way from either of its ends to any negative.

    The negatives of both ends go into one soft minimum, found row by row from the matrix of distances. The paper uses
    the embeddings as they are; here they are scaled to length 1, as in pytorch-metric-learning, unless
    `distance=LpDistance(normalize_embeddings=False)` is given. With a separate reference the negatives of p are those
    batch items of which p is a negative; pytorch-metric-learning looks up p among the anchors, where it is not.

    What to expect: Uses every pair of a batch. The square makes the worst pairs rule, and many negatives alone can keep
    the loss above zero, since distances of unit embeddings end at 2.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over the positive pairs; one without negatives counts as 0. A repeated pair counts once.
    """

    def __init__(
        self,
        *,
        neg_margin: Annotated[
            float, Knob("Added to what negatives cost: how far they should be.", -1.0, 4.0, symbol="m_n")
        ] = 1.0,
        pos_margin: Annotated[float, Knob("Taken from what the positive pair costs.", -1.0, 2.0, symbol="m_p")] = 0.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.neg_margin = neg_margin
        self.pos_margin = pos_margin
        self.distance = distance or LpDistance()
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
        """Return the mean over the positive pairs, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        too_close = self.distance.margin(self.neg_margin, mat)
        of_anchor = masked_logsumexp(too_close, negative, dim=1)  # (B,)
        of_positive = of_anchor if batch.ref_emb is None else masked_logsumexp(too_close, negative, dim=0)
        anchors, positives = positive.nonzero(as_tuple=True)
        negatives = torch.logaddexp(of_anchor[anchors], of_positive[positives])
        too_far = self.distance.margin(mat[anchors, positives], self.pos_margin)
        losses = 0.5 * F.relu(negatives + too_far).square()
        return self.reducer({"loss": Items(losses, anchors, batch.labels)}, batch.embeddings)
