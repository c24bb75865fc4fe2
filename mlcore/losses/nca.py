"""Neighbourhood components analysis: the chance of picking one of the same class as a random neighbour."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.logsumexp import grouped_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, MeanReducer, Reduced, Reducer
from mlcore.tuples import sample_weights


@LOSSES.add(
    "nca",
    title="NCA",
    family="pair",
    formula=r"-\log\frac{\sum_{p\in P(a)}e^{-\sigma d_{ap}^2}}{\sum_{i\ne a}e^{-\sigma d_{ai}^2}}",
    paper="Goldberger et al., NIPS 2004, in the logarithm",
    aliases=("NCALoss (pytorch-metric-learning)", "neighbourhood components analysis"),
)
class NCALoss(nn.Module):
    """Raises the chance that a neighbour, picked at random with near ones likelier, is of the anchor's class.

    One positive close by is enough, so a class may fall into several clumps. Worked out as a difference of two
    logarithms: pytorch-metric-learning takes the logarithm of a probability and drops the anchors where it rounds to 0,
    which are the worst ones.

    What to expect: Gentle at the default scale, where squared distances of unit embeddings end at 4: raise the scale to
    around 10 to let only the nearest neighbours count.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over the anchors that have a positive. A miner's tuples weigh the anchors, by how often they occur.
    """

    def __init__(
        self,
        *,
        softmax_scale: Annotated[
            float,
            Knob(
                "Multiplies the squared distances: large sees near ones only.", 0.1, 100.0, symbol=r"\sigma", log=True
            ),
        ] = 1.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.softmax_scale = softmax_scale
        self.distance = distance or LpDistance(power=2)
        self.reducer = reducer or MeanReducer()

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean over the anchors that have a positive, a scalar."""
        batch = check_pairs(self, embeddings, labels, None, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        nearness = mat * (self.softmax_scale if self.distance.is_inverted else -self.softmax_scale)
        positive, _ = batch.masks()
        if batch.ref_emb is None:
            nearness.fill_diagonal_(-torch.inf)
        anchors, positives = positive.nonzero(as_tuple=True)
        paired, of_pair = anchors.unique_consecutive(return_inverse=True)
        if len(paired) < len(nearness):
            nearness = nearness[paired]
        chances = nearness.log_softmax(dim=1)[of_pair, positives]
        losses = -grouped_logsumexp(chances, of_pair, len(paired))
        if indices_tuple is not None:
            weights = sample_weights(indices_tuple, len(batch.embeddings), batch.embeddings, batch.ref_emb is not None)
            losses = losses * weights[paired]
        return self.reducer({"loss": Items(losses, paired, batch.labels)}, batch.embeddings)
