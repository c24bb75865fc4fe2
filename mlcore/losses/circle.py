"""Circle loss on pairs: each similarity is weighted by how far it is from where it should be."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.distances import Distance
from mlcore.losses.inputs import check_pairs, outside_autocast, require_cosine
from mlcore.losses.logsumexp import masked_logsumexp
from mlcore.losses.registry import LOSSES
from mlcore.margins import MarginLine, angle_of_cosine
from mlcore.reducers import AvgNonZeroReducer, Reduced, Reducer, row_items


@LOSSES.add(
    "circle",
    title="Circle (pairs)",
    family="pair",
    formula=(
        r"\log\Big(1+\sum_{n}e^{\gamma[s_{an}+m]_+(s_{an}-m)}"
        r"\sum_{p}e^{-\gamma[1+m-s_{ap}]_+(s_{ap}-1+m)}\Big)"
    ),
    paper="Sun et al., CVPR 2020, arXiv:2002.10857, section 3.2",
    aliases=("CircleLoss (pytorch-metric-learning)", "CircleLoss (tf-simple-metric-learning)"),
)
class CircleLoss(nn.Module):
    """Moves each pair in proportion to its distance from the ideal: positives towards 1, negatives towards 0.

    Pairs that are nearly right are let off and pairs that are far off are pulled hard, so that the place where
    training ends is a point on a circle, not anywhere along a line. The weights in brackets count as numbers, no
    gradient goes through them, as the paper says; tf-simple-metric-learning differentiates them.

    What to expect: A strong pair loss. The paper sets margin and scale by task: 0.25 and 256 for faces, 0.25 and 128
    for persons, 0.4 and 80 for fine-grained images, the default here. A large scale looks at the worst pairs only.

    Shapes: embeddings (B, D) float, not normalised; labels (B,) whole numbers; ref_emb (N, D), ref_labels (N,).
    An anchor needs a positive and a negative, else it loses nothing. The mean goes over the anchors that lose
    something. A repeated pair counts once.
    Raises: ValueError for a distance that is not the cosine.
    """

    fitting_distances = ("cosine",)
    detached = "the weights of the pairs are held constant"

    def __init__(
        self,
        *,
        m: Annotated[
            float,
            Knob("Positives rest above 1 - m, negatives below m.", 0.0, 1.0, unit="cosine", symbol="m", title="Margin"),
        ] = 0.4,
        gamma: Annotated[
            float, Knob("How much more the worst pairs count.", 1.0, 512.0, symbol=r"\gamma", log=True, title="Scale")
        ] = 80.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__()
        self.m = m
        self.gamma = gamma
        self.distance = require_cosine(self, distance)
        self.reducer = reducer or AvgNonZeroReducer()

    @outside_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        """Return the mean over the anchors that lose something, a scalar."""
        batch = check_pairs(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        mat = self.distance(batch.embeddings, batch.ref_emb)  # (B, N)
        positive, negative = batch.masks()
        pull = F.relu(1.0 + self.m - mat.detach()) * (1.0 - self.m - mat)
        push = F.relu(mat.detach() + self.m) * (mat - self.m)
        pulls = masked_logsumexp(self.gamma * pull, positive, dim=1)  # (B,)
        pushes = masked_logsumexp(self.gamma * push, negative, dim=1)
        return self.reducer({"loss": row_items(F.softplus(pulls + pushes), batch.labels)}, batch.embeddings)

    def margin_lines(self) -> tuple[MarginLine, ...]:
        """Where the pull on positives and the push on negatives change sign."""
        return (
            MarginLine("Positives rest inside", "pairs", "fixed", angle_of_cosine(1.0 - self.m)),
            MarginLine("Negatives rest outside", "pairs", "fixed", angle_of_cosine(self.m)),
        )
