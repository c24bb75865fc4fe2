"""NT-Xent: for each positive pair, a softmax between it and the anchor's negatives."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Items, MeanReducer, Reduced, Reducer


@LOSSES.add(
    "ntxent",
    title="NT-Xent",
    family="pair",
    formula=r"-\log\frac{e^{s_{ap}/\tau}}{e^{s_{ap}/\tau}+\sum_{n}e^{s_{an}/\tau}}",
    paper="Chen et al., ICML 2020, arXiv:2002.05709; van den Oord et al., 2018, arXiv:1807.03748",
    aliases=(
        "NTXentLoss (pytorch-metric-learning)",
        "InfoNCE",
        "SimCLR loss",
        "MultipleNegativesRankingLoss (sentence-transformers, of cosines)",
    ),
)
class NTXentLoss(nn.Module):
    """Asks each positive pair to stand out, alone, among the anchor's negative pairs.

    An anchor's other positives are not in the denominator, so positives do not compete; in SupCon they do. With one
    positive per anchor, as with two views of each image, this is the loss of SimCLR.

    What to expect: Smooth training and well separated classes. Because of the softmax over negatives it gains from
    large batches; a small temperature looks at the hardest negatives only, and suffers from wrong labels.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    The mean goes over the positive pairs; one without negatives counts as 0. A repeated pair counts once
    (pytorch-metric-learning counts it as often as it is given).
    """

    def __init__(
        self,
        *,
        temperature: Annotated[
            float,
            Knob("Divides the similarities: small looks at the hardest only.", 0.01, 1.0, symbol=r"\tau", log=True),
        ] = 0.07,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
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
        """Return the mean loss over the positive pairs, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        similarities = (mat if self.distance.is_inverted else -mat) / self.temperature
        positive, negative = batch.masks()
        negatives = masked_logsumexp(similarities, negative, dim=1)  # (B,)
        anchors, positives = positive.nonzero(as_tuple=True)
        losses = F.softplus(negatives[anchors] - similarities[anchors, positives])
        return self.reducer({"loss": Items(losses, anchors, batch.labels)}, batch.embeddings)
