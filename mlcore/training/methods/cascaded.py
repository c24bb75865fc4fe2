"""A cascade: the embedding in slices, each trained on what the slice before it found hard."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.losses.inputs import outside_autocast
from mlcore.losses.proxy_loss import ScoresClasses
from mlcore.training.methods.method import MakeLoss, MethodBatch, Outcome, TrainingMethod, one_number, sum_outcome
from mlcore.training.methods.registry import METHODS
from mlcore.traits import MethodTrait
from mlcore.tuples import Miner, Pairs, Triplets, all_pairs


@METHODS.add(
    "cascaded",
    title="Cascaded embeddings (HDC)",
    family="training method",
    formula=(
        r"\sum_{k=1}^{K}L_k\big(z^{(k)},\,T_k\big),\qquad "
        r"T_{k+1}=\text{the hardest } \lceil h\,|T_k|\rceil \text{ of } T_k \text{ in } z^{(k)}"
    ),
    paper="Yuan, Yang and Zhang, ICCV 2017, arXiv:1611.05720, figure 2",
    aliases=("CascadedEmbeddings (pytorch-metric-learning)", "hard-aware deeply cascaded embedding"),
    traits=(MethodTrait.SLICES,),
)
class CascadedEmbeddings(TrainingMethod):
    """Cuts the embedding into slices with a loss each; later slices only see the tuples that the one before found hard.

    Easy tuples train the first slice, hard ones all of them, so the slices come to look at different things. The first
    slice sees all that the miner gives (which mines in that slice), or all pairs. Positive pairs are hard that are far
    apart, negative ones that are close; of triplets, those whose negative is closest beside its positive. As in the
    paper, a slice is trained on what the slice before it has selected; in pytorch-metric-learning each selects for
    itself. The paper's slices come from different depths of the network, ours all from the head.

    For losses with proxies the survivors are samples: those whose class is hardest to tell from the slice's logits. The
    rest weigh nothing.

    What to expect: Each slice is short, so give the head a long embedding. Where sizes do not divide, the first slices
    are longer by one. A small share starves the last slice. Slices that train at different strengths grow to different
    lengths, and the whole embedding is compared at length 1, so the longest has the most say.

    Shapes: one view of features (B, F); labels (B,).
    Raises: ValueError for an embedding with fewer than two numbers per stage.
    """

    def __init__(
        self,
        make_loss: MakeLoss,
        miner: Miner | None,
        embedding_size: int,
        *,
        stages: Annotated[int, Knob("Slices of the embedding.", 2, 8, symbol="K")] = 3,
        kept_share: Annotated[
            float, Knob("Share of a stage's tuples that goes on to the next.", 0.05, 1.0, symbol="h")
        ] = 0.5,
    ) -> None:
        if embedding_size < 2 * stages:
            raise ValueError(
                f"cascaded: embedding_size must be at least 2 numbers for each of {stages} stages, {2 * stages}; got "
                f"{embedding_size}. Take a longer embedding or fewer stages."
            )
        sizes = [embedding_size // stages + (stage < embedding_size % stages) for stage in range(stages)]
        super().__init__(make_loss, miner, sizes[0])
        self.later_losses = nn.ModuleList(make_loss(size) for size in sizes[1:])
        self.sizes = sizes
        self.kept_share = kept_share

    def losses(self) -> list[nn.Module]:
        return [self.loss, *self.later_losses]

    def outcome(self, batch: MethodBatch) -> Outcome:
        slices = batch.embeddings[0].split(self.sizes, dim=1)
        tuples = mined = self.mine(slices[0], batch.labels)
        shares = {}
        for stage, (loss, rows) in enumerate(zip(self.losses(), slices, strict=True), start=1):
            shares[f"stage {stage}"] = one_number(loss, rows, batch.labels, tuples)
            if stage < len(slices):
                tuples = self.hardest_tuples(rows.detach(), batch.labels, tuples, loss)
        return sum_outcome(shares, mined)

    @outside_autocast
    @torch.no_grad()
    def hardest_tuples(
        self, rows: Tensor, labels: Tensor, tuples: Pairs | Triplets | None, loss: nn.Module
    ) -> Pairs | Triplets:
        """The hardest of `tuples` (of all pairs where None) by a stage's rows (B, d) and its loss."""
        rows = rows if rows.dtype == torch.float64 else rows.float()
        if hasattr(loss, "proxies"):
            return self.hard_samples(rows, labels, tuples, loss)
        distance = getattr(loss, "distance", None)
        distance = distance if isinstance(distance, Distance) else LpDistance()
        mat = distance(rows)  # (B, B)
        far = -mat if distance.is_inverted else mat
        tuples = all_pairs(labels) if tuples is None else tuples
        if isinstance(tuples, Triplets):
            anchors, positives, negatives = tuples
            kept = self.hardest(far[anchors, positives] - far[anchors, negatives])
            return Triplets(anchors[kept], positives[kept], negatives[kept])
        anchors, positives, anchors_of_negatives, negatives = tuples
        close = self.hardest(-far[anchors_of_negatives, negatives])
        apart = self.hardest(far[anchors, positives])
        return Pairs(anchors[apart], positives[apart], anchors_of_negatives[close], negatives[close])

    def hard_samples(self, rows: Tensor, labels: Tensor, tuples: Pairs | Triplets | None, loss: nn.Module) -> Pairs:
        """The hardest samples, each paired with itself: a loss with proxies reads that as one weight per sample."""
        samples = torch.arange(len(rows), device=rows.device) if tuples is None else torch.cat(tuples).unique()
        if len(samples) == 0:
            return Pairs(samples, samples, samples, samples)
        if not isinstance(loss, ScoresClasses):
            raise ValueError(
                f"cascaded: a loss with proxies must have get_logits, by which hard samples are known; got "
                f"{type(loss).__name__}, which has not. Choose another loss."
            )
        logits = loss.get_logits(rows[samples])
        kept = samples[self.hardest(F.cross_entropy(logits, labels[samples], reduction="none"))]
        return Pairs(kept, kept, kept[:0], kept[:0])

    def hardest(self, hardness: Tensor) -> Tensor:
        """Positions of the share that is kept, rounded up."""
        return hardness.topk(math.ceil(self.kept_share * len(hardness) - 1e-6), sorted=False).indices
