"""Supervised contrastive loss: a softmax over the batch, with every positive a right answer."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import CosineSimilarity, Distance
from mlcore.losses.inputs import check_pairs, outside_autocast
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.losses.soft_ranks import anchor_items
from mlcore.reducers import MeanReducer, Reduced, Reducer


@LOSSES.add(
    "supcon",
    title="SupCon",
    family="pair",
    formula=r"-\frac{1}{|P(a)|}\sum_{p\in P(a)}\log\frac{e^{s_{ap}/\tau}}{\sum_{i\ne a}e^{s_{ai}/\tau}}",
    paper="Khosla et al., NeurIPS 2020, arXiv:2004.11362",
    aliases=("SupConLoss (pytorch-metric-learning)", "supervised contrastive"),
)
class SupConLoss(nn.Module):
    """Makes each embedding pick its positives out of the batch by similarity, all of them equally.

    The mean goes over the anchors that have a positive, as in the paper; pytorch-metric-learning also leaves out
    anchors whose loss is exactly 0, and gives 0 for a batch of a single class, where the paper still spreads
    positives evenly.

    What to expect: Smooth training and well separated classes. It never reaches zero: with several positives, each
    takes its share of the probability. Larger batches give more negatives; a very small temperature looks at the
    hardest ones only.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    A batch without positive pairs gives 0. A repeated pair counts once.
    """

    def __init__(
        self,
        *,
        temperature: Annotated[
            float,
            Knob("Divides the similarities: small looks at the hardest only.", 0.01, 1.0, symbol=r"\tau", log=True),
        ] = 0.1,
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
        """Return the mean loss over the anchors that have a positive, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        similarities = (mat if self.distance.is_inverted else -mat) / self.temperature
        positive, negative = batch.masks()
        everyone = masked_logsumexp(similarities, positive | negative, dim=1)  # (B,)
        how_many = positive.sum(dim=1)
        mean_positive = similarities.masked_fill(~positive, 0.0).sum(dim=1) / how_many.clamp_min(1)
        losses = anchor_items(everyone - mean_positive, how_many > 0, batch.labels)
        return self.reducer({"loss": losses}, batch.embeddings)
