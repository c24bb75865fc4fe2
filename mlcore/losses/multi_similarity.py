"""Multi-similarity: pairs weighted by how hard they are among the anchor's other pairs."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.logsumexp import log_one_plus_sum_exp
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine, angle_of_cosine
from mlcore.reducers import MeanReducer, Reduced, Reducer, row_items


@LOSSES.add(
    "multi_similarity",
    title="Multi-similarity",
    family="pair",
    formula=(
        r"\frac{1}{\alpha}\log\Big(1+\sum_{p}e^{-\alpha(s_{ap}-\lambda)}\Big)"
        r"+\frac{1}{\beta}\log\Big(1+\sum_{n}e^{\beta(s_{an}-\lambda)}\Big)"
    ),
    paper="Wang et al., CVPR 2019, arXiv:1904.06627",
    aliases=("MultiSimilarityLoss (pytorch-metric-learning)",),
)
class MultiSimilarityLoss(nn.Module):
    """Pulls each embedding's least similar positives closer and pushes its most similar negatives away.

    A pair's weight depends on its own similarity and on the anchor's other pairs. The paper's text uses 1 for the
    threshold, its code 0.5, which is the default here.

    What to expect: One of the strongest pair losses; it likes several samples of each class in a batch and goes well
    with the multi-similarity miner. A very large beta attends to the single hardest negative only, and suffers from
    wrong labels.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over all anchors; one without positives and negatives counts as 0. A repeated pair counts once.
    """

    def __init__(
        self,
        *,
        alpha: Annotated[
            float,
            Knob("Sharpness among positives.", 0.1, 100.0, symbol=r"\alpha", log=True, title="Sharpness, positives"),
        ] = 2.0,
        beta: Annotated[
            float,
            Knob("Sharpness among negatives.", 0.1, 200.0, symbol=r"\beta", log=True, title="Sharpness, negatives"),
        ] = 50.0,
        base: Annotated[
            float,
            Knob(
                "Similarity that positives should pass and negatives stay below.",
                -1.0,
                1.0,
                unit="cosine",
                symbol=r"\lambda",
                title="Threshold",
            ),
        ] = 0.5,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.distance = distance or CosineSimilarity()
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
        """Return the mean loss over the anchors, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        beyond = self.distance.margin(mat, torch.full_like(mat, self.base))
        pos_losses = log_one_plus_sum_exp(self.alpha * beyond, positive, dim=1) / self.alpha  # (B,)
        neg_losses = log_one_plus_sum_exp(-self.beta * beyond, negative, dim=1) / self.beta
        return self.reducer({"loss": row_items(pos_losses + neg_losses, batch.labels)}, batch.embeddings)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """The threshold as an angle."""
        if not isinstance(self.distance, CosineSimilarity) or self.distance.power != 1:
            return ()
        return (MarginLine("Threshold", "pairs", "fixed", angle_of_cosine(self.base)),)
