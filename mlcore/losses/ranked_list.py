"""Ranked list loss: positives inside one ball around the anchor, negatives outside a larger one."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine, angle_of_distance
from mlcore.reducers import MeanReducer, Reduced, Reducer, row_items


@LOSSES.add(
    "ranked_list",
    title="Ranked list",
    family="list",
    formula=(
        r"(1-\lambda)\,\frac{\sum_p w_p\big[d_{ap}-(\alpha-m)\big]_+}{\sum_p w_p}"
        r"+\lambda\,\frac{\sum_n w_n\big[\alpha-d_{an}\big]_+}{\sum_n w_n},\quad "
        r"w_p=e^{T_p(d_{ap}-\alpha+m)},\ w_n=e^{T_n(\alpha-d_{an})}"
    ),
    paper="Wang et al., CVPR 2019, arXiv:1903.03238",
    aliases=("RankedListLoss (pytorch-metric-learning)", "RLL"),
)
class RankedListLoss(nn.Module):
    """Pulls all positives within a radius of each anchor, and pushes all negatives beyond a larger one.

    Only items on the wrong side count; among them the worst weigh most. The weights steer and are not themselves
    trained: no gradient flows through them, as in the paper (pytorch-metric-learning lets it flow, adds 1e-5 to each
    weight, and leaves out negatives at distance 0, the worst of all).

    What to expect: Keeps the spread inside a class, up to the inner radius, and uses every item of the batch, so it
    needs no miner. A large weight temperature for negatives looks at the few closest only.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A miner's tuples say which items stand in each anchor's list. The mean goes over all anchors.
    Raises: ValueError for a similarity in place of a distance, and for a margin larger
    than alpha.
    """

    fitting_distances = ("lp", "snr", "batched")
    detached = "the weights of the items are held constant, as in the paper"

    def __init__(
        self,
        *,
        margin: Annotated[float, Knob("Gap between the two radii.", 0.0, 2.0, unit="distance", symbol="m")] = 0.4,
        Tn: Annotated[
            float,
            Knob(
                "How much more the closest negatives weigh; 0 is all alike.",
                0.0,
                100.0,
                symbol="T_n",
                title="Sharpness, negatives",
            ),
        ] = 10.0,
        imbalance: Annotated[
            float,
            Knob("Share of the negatives' half in the loss.", 0.0, 1.0, symbol=r"\lambda", title="Negatives' share"),
        ] = 0.5,
        alpha: Annotated[
            float | None,
            Knob(
                "The outer radius: negatives beyond it are left alone.",
                0.1,
                2.0,
                unit="distance",
                symbol=r"\alpha",
                none="1 + margin / 2",
                title="Outer radius",
            ),
        ] = None,
        Tp: Annotated[
            float,
            Knob(
                "How much more the farthest positives weigh; 0 is all alike.",
                0.0,
                100.0,
                symbol="T_p",
                title="Sharpness, positives",
            ),
        ] = 0.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.Tn = Tn
        self.imbalance = imbalance
        self.alpha = 1.0 + margin / 2.0 if alpha is None else alpha
        self.Tp = Tp
        self.distance = distance or LpDistance()
        self.reducer = reducer or MeanReducer()
        if self.distance.is_inverted:
            raise ValueError(
                "RankedListLoss: its radii are distances, so distance must not be a similarity; "
                f"got {type(self.distance).__name__}. Leave distance out."
            )

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean loss over the anchors, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        pos_losses = weighted_mean(mat - (self.alpha - self.margin), positive, self.Tp)  # (B,)
        neg_losses = weighted_mean(self.alpha - mat, negative, self.Tn)
        losses = (1.0 - self.imbalance) * pos_losses + self.imbalance * neg_losses
        return self.reducer({"loss": row_items(losses, batch.labels)}, batch.embeddings)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """The two radii as angles."""
        lp = isinstance(self.distance, LpDistance) and self.distance.normalize_embeddings
        if not lp or self.distance.p != 2 or self.distance.power != 1:
            return ()
        return (
            MarginLine("Positives rest inside", "pairs", "fixed", angle_of_distance(self.alpha - self.margin)),
            MarginLine("Negatives rest outside", "pairs", "fixed", angle_of_distance(self.alpha)),
        )


def weighted_mean(excess: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """(B,) mean of each row's excesses above 0, weighted by exp(temperature * excess); 0 where there is none."""
    wrong = mask & (excess > 0)
    with torch.no_grad():
        exponents = (temperature * excess).masked_fill(~wrong, torch.finfo(excess.dtype).min)
        weights = exponents.softmax(dim=1).masked_fill(~wrong, 0.0)
    return (weights * F.relu(excess)).sum(dim=1)
