"""N-pairs: one positive pair of each class, every anchor picking its own among all positives."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, DotProductSimilarity
from mlcore.losses.inputs import PairInputs, check_labelled_pairs, outside_autocast
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, LossTerm, MeanReducer, Reduced, Reducer
from mlcore.tuples import to_pairs

NEGLIGIBLE = 70.0  # logits so far below the largest: their slopes would be denormal, and slow
ONE_PAIR = "An anchor's negatives are the positives of other anchors, and a picture has one anchor."


@LOSSES.add(
    "n_pairs",
    title="N-pairs",
    family="triplet",
    formula=(
        r"\log\Big(1+\sum_{j\ne i}e^{a_i\cdot p_j-a_i\cdot p_i}\Big)"
        r"+\lambda\big(\lVert a_i\rVert^2+\lVert p_i\rVert^2\big)"
    ),
    paper="Sohn, NIPS 2016, Improved Deep Metric Learning with Multi-class N-pair Loss Objective",
    aliases=(
        "NPairsLoss (pytorch-metric-learning)",
        "multi-class N-pair loss",
        "MultipleNegativesRankingLoss (sentence-transformers, of products)",
    ),
    unpictured=ONE_PAIR,
)
class NPairsLoss(nn.Module):
    """Takes one positive pair of each class and asks every anchor to pick its own positive among all of them.

    The first positive pair of each class counts, in the order of the batch or of the tuples; a miner's negatives are
    not used. Embeddings are compared as they are, by the dot product, and kept short by a cost on their length, as in
    the paper. pytorch-metric-learning scales them to length 1, which leaves the softmax nearly flat:
    `distance=DotProductSimilarity(), l2_reg_weight=0` gives the same.

    What to expect: Needs few samples and many classes in a batch: two of each, as the m-per-class sampler gives with
    m=2, waste nothing. Without the cost on lengths, embeddings only grow.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,): then
    positives come from there. The mean goes over the pairs; fewer than two classes with a pair give 0.
    """

    depends_on_order = "the first pair of each class counts"
    depends_on_length = "the paper compares embeddings as they are"
    samples_per_class = 2  # of use in a batch

    def __init__(
        self,
        *,
        l2_reg_weight: Annotated[
            float,
            Knob("Cost of the embeddings' squared lengths.", 0.0, 1.0, symbol=r"\lambda", title="Cost of lengths"),
        ] = 0.002,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.l2_reg_weight = l2_reg_weight
        self.distance = distance or DotProductSimilarity(normalize_embeddings=False)
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
        """Return the mean over the pairs, a scalar."""
        batch = check_labelled_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        places, anchors, positives = pair_rows(batch)
        losses = self.losses(anchors, positives)
        if self.l2_reg_weight > 0:
            lengths = anchors.square().sum(dim=1) + positives.square().sum(dim=1)
            losses["embedding_reg_loss"] = self.l2_reg_weight * lengths
        parts: dict[str, LossTerm] = {name: Items(part, places, batch.labels) for name, part in losses.items()}
        return self.reducer(parts, batch.embeddings)

    def losses(self, anchors: Tensor, positives: Tensor) -> dict[str, Tensor]:
        """Each part's losses (P,) of the pairs."""
        return {"loss": n_pairs_losses(self.distance, anchors, positives)}


def pair_rows(batch: PairInputs) -> tuple[Tensor, Tensor, Tensor]:
    """The first positive pair of each class: its anchor's place (P,), its anchor and its positive (P, D).

    None at all where only one class has a pair.
    """
    if batch.indices_tuple is None:
        same, _ = batch.masks()
        anchors, positives = same.nonzero(as_tuple=True)
    else:
        anchors, positives = to_pairs(batch.indices_tuple)[:2]
    classes, of_class = batch.needed_labels()[anchors].unique(return_inverse=True)
    places = torch.arange(len(anchors), device=anchors.device)
    first = places.new_full((len(classes),), len(anchors)).scatter_reduce_(0, of_class, places, "amin")
    if len(first) < 2:
        first = first[:0]
    return anchors[first], batch.embeddings[anchors[first]], batch.reference()[positives[first]]


def n_pairs_losses(distance: Distance, anchors: Tensor, positives: Tensor) -> Tensor:
    """(P,): cross-entropy of each anchor's own positive among all positives."""
    if len(anchors) == 0:
        return anchors.sum(dim=1)
    mat = distance(anchors, positives)  # (P, P)
    logits = mat if distance.is_inverted else -mat
    with torch.no_grad():
        adds_nothing = logits < logits.amax(dim=1, keepdim=True) - NEGLIGIBLE
        adds_nothing.fill_diagonal_(False)
    logits = logits.masked_fill(adds_nothing, -torch.inf)
    own = torch.arange(len(anchors), device=anchors.device)
    return F.cross_entropy(logits, own, reduction="none")
