"""Angular mining: the triplets whose positive pair is seen from the negative under a wide angle."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from mlcore.declare import Knob
from mlcore.distances import Distance, LpDistance
from mlcore.miners.registry import MINERS
from mlcore.miners.sphere import only_euclidean
from mlcore.tuples import Triplets, label_masks

BLOCK = 2**18  # entries looked at in one go


@MINERS.add(
    "angular",
    title="Angular",
    family="triplet",
    formula=r"\arctan\frac{\lVert x_a-x_p\rVert}{2\lVert x_n-\frac{1}{2}(x_a+x_p)\rVert}>\alpha",
    paper="Wang et al., ICCV 2017, arXiv:1708.01682",
    aliases=("AngularMiner (pytorch-metric-learning)",),
)
class AngularMiner:
    """Keeps the triplets in which the negative is near the middle between anchor and positive, for their distance.

    The distance to the middle follows from the dot products of the three, so nothing is computed per triplet but one
    sum. The angle is in radians (pytorch-metric-learning takes degrees: its 20 is 0.349). The embeddings have length 1
    here, as in the angular loss; pytorch-metric-learning asks for a normalising distance and then measures raw ones.
    `distance=LpDistance(normalize_embeddings=False)` does that too.

    What to expect: Made for the angular loss: with its own angle here as there, the triplets that still lose. An angle
    above 1.1 rad (63 degrees) finds hardly any.

    Shapes: embeddings (B, D), labels (B,). Looks at the triplets block by block; the result holds the kept ones only,
    and their number grows with the cube of the batch where classes are few.
    Raises: ValueError for a distance that is not Euclidean.
    """

    def __init__(
        self,
        *,
        angle: Annotated[
            float, Knob("Triplets above this angle are kept.", 0.0, 1.57, unit="rad", symbol=r"\alpha")
        ] = math.radians(20.0),
        distance: Distance | None = None,
    ) -> None:
        self.angle = angle
        self.distance = only_euclidean("angular", distance or LpDistance())

    @torch.no_grad()
    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Triplets:
        batch = self.distance.normalize(embeddings)
        others = batch if ref_emb is None else self.distance.normalize(ref_emb)
        to_others = batch @ others.T  # (B, N) dot products
        among = to_others if ref_emb is None else others @ others.T  # (N, N)
        lengths, other_lengths = batch.square().sum(dim=1), others.square().sum(dim=1)
        same, different = label_masks(labels, ref_labels, own)
        anchors, positives = same.nonzero(as_tuple=True)
        ends = lengths[anchors] + other_lengths[positives]
        inner = to_others[anchors, positives]
        middle = 0.25 * (ends + 2.0 * inner)  # squared length of (a + p) / 2
        apart = (ends - 2.0 * inner).clamp_min(0.0)  # squared length of a - p
        limit = apart / (4.0 * math.tan(self.angle) ** 2) if self.angle > 0 else torch.full_like(apart, torch.inf)
        limit[apart == 0] = -torch.inf
        bound = middle - limit  # kept where |n|^2 - n.(a + p) < limit - middle
        pieces = []
        rows = max(1, BLOCK // len(others))
        for a, p, least in zip(anchors.split(rows), positives.split(rows), bound.split(rows), strict=True):
            excess = to_others[a]
            excess += among[p]
            excess -= other_lengths
            pair, negatives = ((excess > least[:, None]) & different[a]).nonzero(as_tuple=True)
            pieces.append((a[pair], p[pair], negatives))
        return Triplets(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))
