"""PNP: a penalty on the number of negatives that stand before each positive."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_cosine
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import anchor_items, mean_by_anchor, soft_ranks, to_similarity
from mlcore.reducers import MeanReducer, Reduced, Reducer


@LOSSES.add(
    "pnp",
    title="PNP (penalising negatives before positives)",
    family="list",
    formula=(
        r"\frac{1}{|P(a)|}\sum_{p\in P(a)}f(R_p),\quad R_p=\sum_{n}\sigma\big((s_{an}-s_{ap})/\tau\big),\quad "
        r"f:\ R;\ \log(1+R);\ 1-(1+R)^{-\alpha};\ (1+R)\log(1+R);\ \tfrac{bR-\log(1+bR)}{b^2}"
    ),
    paper="Li et al., AAAI 2022, arXiv:2102.04640",
    aliases=("PNPLoss (pytorch-metric-learning)", "PNP-O", "PNP-Iu", "PNP-Ib", "PNP-Ds", "PNP-Dq"),
)
class PNPLoss(nn.Module):
    """Counts softly how many negatives stand before each positive of an anchor, and penalises that number.

    The variants differ in who gets the attention: "O" all positives alike, "Iu" and "Ib" those far down the list most,
    "Ds" and "Dq" those with few negatives before them, which forgives wrong labels. The paper prefers "Dq". The
    anchor is not one of its own positives, as in the paper; pytorch-metric-learning counts it as one.

    What to expect: Stops once no negative stands before a positive, however close the classes lie. A very small
    temperature gives a gradient only to near ties. "Iu" and "O" grow with the batch and may want a smaller learning
    rate.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A miner's tuples say which items stand in each anchor's list. The mean goes over the anchors that have a positive.
    There is no second derivative.
    """

    fitting_distances = ("cosine",)

    def __init__(
        self,
        *,
        b: Annotated[
            float, Knob("Variant Ib: how soon its penalty turns steep.", 0.1, 10.0, symbol="b", title="Steepness of Ib")
        ] = 2.0,
        alpha: Annotated[
            float,
            Knob("Variant Dq: how soon its penalty levels off.", 0.1, 10.0, symbol=r"\alpha", title="Levelling of Dq"),
        ] = 1.0,
        anneal: Annotated[
            float,
            Knob("Lead at which one item clearly stands before another.", 0.001, 1.0, symbol=r"\tau", log=True),
        ] = 0.01,
        variant: Annotated[
            str,
            Knob(
                "O: the number itself; Iu, Ib: growing faster; Ds, Dq: levelling off.",
                choices=("O", "Ds", "Dq", "Iu", "Ib"),
            ),
        ] = "O",
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.b = b
        self.alpha = alpha
        self.anneal = anneal
        self.variant = variant
        self.distance = require_cosine(self, distance)
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
        """Return the mean penalty over the anchors that have a positive, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = to_similarity(self.distance, batch)
        positive, negative = batch.masks()
        anchors, _, negatives_before = soft_ranks(mat, positive, negative, self.anneal)
        how_many = positive.sum(dim=1)
        losses = mean_by_anchor(self.penalty(negatives_before), anchors, how_many)  # (B,)
        return self.reducer({"loss": anchor_items(losses, how_many > 0, batch.labels)}, batch.embeddings)

    def penalty(self, before: Tensor) -> Tensor:
        """What each number of negatives before a positive costs."""
        if self.variant == "Ds":
            return torch.log1p(before)
        if self.variant == "Dq":
            return 1.0 - (1.0 + before) ** -self.alpha
        if self.variant == "Iu":
            return (1.0 + before) * torch.log1p(before)
        if self.variant == "Ib":
            return (self.b * before - torch.log1p(self.b * before)) / self.b**2
        return before
