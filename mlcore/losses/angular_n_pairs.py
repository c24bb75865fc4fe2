"""Angular N-pairs: N-pairs and the angular loss on the same pairs, added."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance, DotProductSimilarity
from mlcore.losses.angular import ALPHA
from mlcore.losses.door import enter_with_labels, full_precision
from mlcore.losses.lse import masked_logsumexp
from mlcore.losses.n_pairs import ONE_PAIR, n_pairs_losses, pair_rows
from mlcore.losses.registry import LOSSES
from mlcore.reducers import MeanReducer, Part, Reducer


@LOSSES.add(
    "angular_n_pairs",
    title="Angular N-pairs",
    family="triplet",
    formula=(
        r"\log\Big(1+\sum_{j\ne i}e^{a_i\cdot p_j-a_i\cdot p_i}\Big)+\lambda\log\Big(1+\sum_{n}e^{f_n}\Big),\quad "
        r"f_n=4\tan^2\!\alpha\,(\hat a_i+\hat p_i)\cdot\hat n-2(1+\tan^2\!\alpha)\,\hat a_i\cdot\hat p_i"
    ),
    paper="Wang et al., ICCV 2017, arXiv:1708.01682, section 3 (NL&AL)",
    names=("AngularNPairsLoss (pytorch-metric-learning, until 2019)", "N-pair and angular loss"),
    unpictured=ONE_PAIR,
)
class AngularNPairsLoss(nn.Module):
    """Takes one positive pair of each class; each anchor picks its own positive, and no negative may see a wide angle.

    The sum of the two that the paper calls best. The negatives of a pair are the anchors and positives of all other
    pairs. N-pairs compares embeddings as they are, the angular part compares directions. The first positive pair of
    each class counts, in the order of the batch or of the tuples; a miner's negatives are not used.

    What to expect: Needs few samples and many classes in a batch, as N-pairs does, and is steadier than it.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,): then
    positives come from there. The means go over the pairs; fewer than two classes with a pair give 0.
    Raises: ValueError at the door (losses/door.py).
    """

    depends_on_order = "the first pair of each class counts"
    depends_on_length = "the N-pairs part compares embeddings as they are"
    samples_per_class = 2  # of use in a batch

    def __init__(
        self,
        *,
        alpha: Annotated[float, ALPHA] = 0.7,
        angular_weight: Annotated[float, Knob("Weight of the angular part.", 0.0, 10.0, symbol=r"\lambda")] = 2.0,
        l2_reg_weight: Annotated[float, Knob("Cost of the embeddings' squared lengths.", 0.0, 1.0)] = 0.002,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.angular_weight = angular_weight
        self.l2_reg_weight = l2_reg_weight
        self.distance = distance or DotProductSimilarity(normalize_embeddings=False)
        self.reducer = reducer or MeanReducer()

    @full_precision
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Any:
        """Return the sum of the means over the pairs, a scalar."""
        batch = enter_with_labels(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        anchors, positives = pair_rows(batch)
        parts: dict[str, Part] = {"n_pairs_loss": n_pairs_losses(self.distance, anchors, positives)}
        parts["angular_loss"] = self.angular_weight * self.angular(F.normalize(anchors), F.normalize(positives))
        if self.l2_reg_weight > 0:
            lengths = anchors.square().sum(dim=1) + positives.square().sum(dim=1)
            parts["embedding_reg_loss"] = self.l2_reg_weight * lengths
        return self.reducer(parts, batch.embeddings)

    def angular(self, anchors: Tensor, positives: Tensor) -> Tensor:
        """(P,): the angular loss of each pair of unit vectors, the other pairs' both ends being the negatives."""
        square = math.tan(self.alpha) ** 2
        towards = (anchors + positives) @ torch.cat([anchors, positives]).T  # (P, 2P)
        others = ~torch.eye(len(anchors), dtype=torch.bool, device=anchors.device).repeat(1, 2)
        crowd = masked_logsumexp(4.0 * square * towards, others, dim=1) if len(anchors) else anchors.sum(dim=1)
        return F.softplus(crowd - 2.0 * (1.0 + square) * (anchors * positives).sum(dim=1))
