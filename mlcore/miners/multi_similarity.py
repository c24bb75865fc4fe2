"""Multi-similarity mining: pairs that overlap with the anchor's hardest pair of the other kind."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance
from mlcore.miners.registry import MINERS
from mlcore.tuples import Pairs, label_masks


@MINERS.add(
    "multi_similarity",
    title="Multi-similarity",
    family="pair",
    formula=r"s_{ap}-\epsilon<\max_{n}s_{an},\qquad s_{an}+\epsilon>\min_{p}s_{ap}",
    paper="Wang et al., CVPR 2019, arXiv:1904.06627, eqs. 9 and 10",
    aliases=("MultiSimilarityMiner (pytorch-metric-learning)",),
)
class MultiSimilarityMiner:
    """Keeps the pairs that are out of order: positives less similar than some negative, and the other way round.

    What to expect: Fewer and fewer pairs as training goes on; an empty result means that the batch is sorted. Made for
    the multi-similarity loss, useful with any pair loss.

    Shapes: embeddings (B, D), labels (B,). An anchor needs both a positive and a negative to give any pair.
    """

    def __init__(
        self,
        *,
        epsilon: Annotated[
            float, Knob("How nearly out of order still counts.", 0.0, 1.0, unit="cosine", symbol=r"\epsilon")
        ] = 0.1,
        distance: Distance | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.distance = distance or CosineSimilarity()

    @torch.no_grad()
    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Pairs:
        mat = self.distance(embeddings, ref_emb)  # (B, N)
        near = mat if self.distance.is_inverted else -mat
        same, different = label_masks(labels, ref_labels, own)
        closest_negative = near.masked_fill(~different, -torch.inf).amax(dim=1, keepdim=True)
        farthest_positive = near.masked_fill(~same, torch.inf).amin(dim=1, keepdim=True)
        positive = same & (near - self.epsilon < closest_negative)
        negative = different & (near + self.epsilon > farthest_positive)
        return Pairs(*positive.nonzero(as_tuple=True), *negative.nonzero(as_tuple=True))
