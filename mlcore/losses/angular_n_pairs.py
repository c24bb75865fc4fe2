"""Angular N-pairs: N-pairs and the angular loss on the same pairs, added."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.angular import ALPHA
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.n_pairs import ONE_PAIR, NPairsLoss, n_pairs_losses
from mlcore.losses.registry import LOSSES
from mlcore.reducers import Reducer


@LOSSES.add(
    "angular_n_pairs",
    title="Angular N-pairs",
    family="triplet",
    formula=(
        r"\log\Big(1+\sum_{j\ne i}e^{a_i\cdot p_j-a_i\cdot p_i}\Big)+\lambda\log\Big(1+\sum_{n}e^{f_n}\Big),\quad "
        r"f_n=4\tan^2\!\alpha\,(\hat a_i+\hat p_i)\cdot\hat n-2(1+\tan^2\!\alpha)\,\hat a_i\cdot\hat p_i"
    ),
    paper="Wang et al., ICCV 2017, arXiv:1708.01682, section 3 (NL&AL)",
    aliases=("AngularNPairsLoss (pytorch-metric-learning, until 2019)", "N-pair and angular loss"),
    unpictured=ONE_PAIR,
)
class AngularNPairsLoss(NPairsLoss):
    """Takes one positive pair of each class; each anchor picks its own positive, and no negative may see a wide angle.

    The sum of the two that the paper calls best. The negatives of a pair are the anchors and positives of all other
    pairs. N-pairs compares embeddings as they are, the angular part compares directions. The first positive pair of
    each class counts, in the order of the batch or of the tuples; a miner's negatives are not used.

    What to expect: Needs few samples and many classes in a batch, as N-pairs does, and is steadier than it.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,): then
    positives come from there. The means go over the pairs; fewer than two classes with a pair give 0.
    """

    depends_on_length = "the N-pairs part compares embeddings as they are"

    def __init__(
        self,
        *,
        alpha: Annotated[float, ALPHA] = 0.7,
        angular_weight: Annotated[float, Knob("Weight of the angular part.", 0.0, 10.0, symbol=r"\lambda")] = 2.0,
        l2_reg_weight: Annotated[
            float, Knob("Cost of the embeddings' squared lengths.", 0.0, 1.0, title="Cost of lengths")
        ] = 0.002,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__(l2_reg_weight=l2_reg_weight, distance=distance, reducer=reducer)
        self.alpha = alpha
        self.angular_weight = angular_weight

    def losses(self, anchors: Tensor, positives: Tensor) -> dict[str, Tensor]:
        return {
            "n_pairs_loss": n_pairs_losses(self.distance, anchors, positives),
            "angular_loss": self.angular_weight * self.angular(F.normalize(anchors), F.normalize(positives)),
        }

    def angular(self, anchors: Tensor, positives: Tensor) -> Tensor:
        """(P,): the angular loss of each pair of unit vectors, the other pairs' both ends being the negatives."""
        square = math.tan(self.alpha) ** 2
        towards = (anchors + positives) @ torch.cat([anchors, positives]).T  # (P, 2P)
        others = ~torch.eye(len(anchors), dtype=torch.bool, device=anchors.device).repeat(1, 2)
        crowd = masked_logsumexp(4.0 * square * towards, others, dim=1) if len(anchors) else anchors.sum(dim=1)
        return F.softplus(crowd - 2.0 * (1.0 + square) * (anchors * positives).sum(dim=1))
