"""A batch that comes as triplets already."""

from __future__ import annotations

import torch
from torch import Tensor

from mlcore.miners.registry import MINERS
from mlcore.tuples import Triplets


@MINERS.add(
    "packaged_triplets",
    title="Already packaged as triplets",
    family="given",
    formula=r"(x_{3i},\,x_{3i+1},\,x_{3i+2})",
    paper="No paper of its own; Musgrave et al., 2020, arXiv:2008.09164",
    aliases=("EmbeddingsAlreadyPackagedAsTriplets (pytorch-metric-learning)",),
)
class EmbeddingsAlreadyPackagedAsTriplets:
    """Reads the batch as anchor, positive, negative, anchor, positive, negative and so on, whatever the labels say.

    What to expect: For data that is known only as triplets, such as answers of people to "which is more alike?", and
    for the sampler with a fixed set of triplets. With any other sampler it teaches nonsense: it does not look.

    Shapes: embeddings (B, D) with B a multiple of 3; gives B / 3 triplets.
    Raises: ValueError if B is not a multiple of 3, or if there is a reference.
    """

    def __init__(self) -> None:
        pass

    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Triplets:
        count = len(embeddings)
        if count % 3:
            raise ValueError(
                f"packaged_triplets: the batch must be a multiple of 3, in the order anchor, positive, negative; got "
                f"{count} rows. Pass batch_size={max(1, round(count / 3)) * 3} and a sampler of whole triplets."
            )
        if ref_emb is not None and ref_emb is not embeddings:
            raise ValueError("packaged_triplets: the triplets lie in the batch and take no ref_emb. Leave ref_emb out.")
        return Triplets(*(torch.arange(first, count, 3, device=embeddings.device) for first in range(3)))
