"""What text encoders share."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

SHORT = 0.05  # the length of a piece's vector at the start
Preparing = Generator[tuple[int, int], None, Tensor]


class TextEncoder(nn.Module):
    """Texts in two steps: `prepare` makes of them, once, what the forward pass then takes rows of.

    Shapes: T texts -> (T, P) from `prepare`; (B, P) -> embeddings (B, embedding_size).
    """

    def prepare_in_parts(self, texts: Sequence[str]) -> Preparing:
        """`prepare` bit by bit: yields how many texts of how many are done, returns the tensor."""
        raise NotImplementedError

    def prepare(self, texts: Sequence[str]) -> Tensor:
        """What `forward` takes of these texts (T, P)."""
        work = self.prepare_in_parts(texts)
        while True:
            try:
                next(work)
            except StopIteration as end:
                return end.value


def initialize_weights(module: nn.Module, seed: int) -> None:
    """Weights at the start, from a generator of their own: a run's text side can be made again without its images.

    Vectors of pieces begin short and there are no offsets, so that pieces no training text has weigh next to nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                bound = 1.0 / math.sqrt(part.in_features)
                part.weight.uniform_(-bound, bound, generator=generator)
                part.bias.zero_()
            elif isinstance(part, nn.EmbeddingBag):
                part.weight.normal_(0.0, SHORT / math.sqrt(part.embedding_dim), generator=generator)
                part.weight[part.padding_idx].zero_()
