"""Contrastive loss: pairs of one class inside a distance, pairs of two classes outside another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypedDict

import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance, LpDistance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine, angle_of_cosine, angle_of_distance
from mlcore.reducers import AvgNonZeroReducer, Items, LossTerm, Reduced, Reducer, Sums
from mlcore.tuples import to_pairs


class ContrastiveOptions(TypedDict, total=False):
    """What `ContrastiveLoss` takes by name, but for its distance."""

    pos_margin: float
    neg_margin: float
    squared: bool
    reducer: Reducer | None


@LOSSES.add(
    "contrastive",
    title="Contrastive",
    family="pair",
    formula=r"\big[d_{ap}-m_p\big]_+ + \big[m_n-d_{an}\big]_+",
    paper="Hadsell, Chopra and LeCun, CVPR 2006",
    aliases=(
        "ContrastiveLoss (pytorch-metric-learning, sentence-transformers)",
        "CosineEmbeddingLoss (torch, with the cosine distance)",
    ),
)
class ContrastiveLoss(nn.Module):
    """Pulls embeddings of one class together and pushes those of different classes apart, up to a fixed distance.

    The paper squares both hinges and halves them (`squared`); the plain hinge is what libraries use, and pulls as hard
    at the end as at the start. Each half is averaged over the pairs that still lose something.

    What to expect: Simple and slow: every class is asked to shrink to one point (unless pos_margin allows room), and
    most negatives soon teach nothing. With a similarity in place of the distance the margins swap: pos_margin=1,
    neg_margin=0.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,). A
    batch without positive or negative pairs loses nothing there.
    Raises: ValueError if the margins are those of a distance but a similarity is
    used.
    """

    fitting_distances: tuple[str, ...] = ("lp", "snr", "batched")

    def __init__(
        self,
        *,
        pos_margin: Annotated[
            float,
            Knob(
                "Positive pairs closer than this are left alone.",
                -1.0,
                2.0,
                unit="distance",
                symbol="m_p",
                title="Positive margin",
            ),
        ] = 0.0,
        neg_margin: Annotated[
            float,
            Knob(
                "Negative pairs farther than this are left alone.",
                -1.0,
                4.0,
                unit="distance",
                symbol="m_n",
                title="Negative margin",
            ),
        ] = 1.0,
        squared: Annotated[bool, Knob("Square and halve both terms, as in the paper.")] = False,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.pos_margin = pos_margin
        self.neg_margin = neg_margin
        self.squared = squared
        self.distance = distance or LpDistance()
        self.reducer = reducer or AvgNonZeroReducer()
        if self.distance.is_inverted and pos_margin <= neg_margin:
            raise ValueError(
                f"ContrastiveLoss: with a similarity, pos_margin must be above neg_margin; got {pos_margin:g} and "
                f"{neg_margin:g}. For cosines pass pos_margin=1, neg_margin=0."
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
        """Return the sum of the positive and the negative half, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        if batch.indices_tuple is None:
            same, different = batch.masks()
            anchors, positives = same.nonzero(as_tuple=True)
            pos_loss = Items(self.too_far(mat[anchors, positives]), anchors, batch.labels)
            neg_loss = self.over_negatives(mat, different, batch.labels)
        else:
            a1, p, a2, n = to_pairs(batch.indices_tuple)
            pos_loss = Items(self.too_far(mat[a1, p]), a1, batch.labels)
            neg_loss = Items(self.too_close(mat[a2, n]), a2, batch.labels)
        return self.reducer({"pos_loss": pos_loss, "neg_loss": neg_loss}, batch.embeddings)

    def too_far(self, dists: Tensor) -> Tensor:
        return self.hinge(self.distance.margin(dists, dists.new_tensor(self.pos_margin)))

    def too_close(self, dists: Tensor, solved: Tensor | None = None) -> Tensor:
        """What each distance loses, nothing where it is `solved` for other reasons."""
        excess = self.distance.margin(dists.new_tensor(self.neg_margin), dists)
        return self.hinge(excess if solved is None else excess.masked_fill_(solved, 0.0))

    def hinge(self, excess: Tensor) -> Tensor:
        excess = F.relu(excess, inplace=True)
        return 0.5 * excess.square() if self.squared else excess

    def over_negatives(self, mat: Tensor, different: Tensor, labels: Tensor | None) -> LossTerm:
        """Their sums, since picking most of a matrix out costs more than all the rest."""
        if self.reducer.needs_items:
            anchors, negatives = different.nonzero(as_tuple=True)
            return Items(self.too_close(mat[anchors, negatives]), anchors, labels)
        losses = self.too_close(mat, solved=~different)
        return Sums(losses.sum(), different.count_nonzero(), losses.count_nonzero())

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Fixed angles, where the distance or similarity belongs to one angle."""
        angle_of: Callable[[float], float]
        if isinstance(self.distance, CosineSimilarity):
            angle_of = angle_of_cosine
        elif isinstance(self.distance, LpDistance) and self.distance.normalize_embeddings and self.distance.p == 2:
            angle_of = angle_of_distance
        else:
            return ()
        root = 1.0 / self.distance.power
        return tuple(
            MarginLine(text, "pairs", "fixed", angle_of(max(margin, 0.0) ** root if root != 1.0 else margin))
            for text, margin in (("Positive margin", self.pos_margin), ("Negative margin", self.neg_margin))
        )
