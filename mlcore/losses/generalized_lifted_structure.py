"""Generalized lifted structure: an anchor's soft farthest positive against its soft closest negative."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.reducers import MeanReducer, Reduced, Reducer, row_items


@LOSSES.add(
    "generalized_lifted_structure",
    title="Generalized lifted structure",
    family="pair",
    formula=r"\Big[\log\sum_{p}e^{d_{ap}-m_p}+\log\sum_{n}e^{m_n-d_{an}}\Big]_+",
    paper="Hermans, Beyer and Leibe, 2017, arXiv:1703.07737, section 2",
    aliases=("GeneralizedLiftedStructureLoss (pytorch-metric-learning)",),
)
class GeneralizedLiftedStructureLoss(nn.Module):
    """Pulls each anchor's positives, the farthest most, and pushes its negatives, the closest most, in one hinge.

    The lifted structure loss with all positives of an anchor in one sum as well. An anchor without a positive or
    without a negative loses nothing; pytorch-metric-learning lets the one term that is left through.

    What to expect: Smoother than mining the hardest triplet and close to it in effect. The number of positives and
    negatives raises the loss, so its level tells little from one batch size to another.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over all anchors. A repeated pair counts once.
    """

    def __init__(
        self,
        *,
        neg_margin: Annotated[
            float, Knob("Added to what negatives cost: how far they should be.", -1.0, 4.0, symbol="m_n")
        ] = 1.0,
        pos_margin: Annotated[float, Knob("Taken from what positives cost.", -1.0, 2.0, symbol="m_p")] = 0.0,
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
        """Return the mean over the anchors, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        pulls = masked_logsumexp(self.distance.margin(mat, self.pos_margin), positive, dim=1)  # (B,)
        pushes = masked_logsumexp(self.distance.margin(self.neg_margin, mat), negative, dim=1)
        return self.reducer({"loss": row_items(F.relu(pulls + pushes), batch.labels)}, batch.embeddings)
