"""A small text tower that is trained from scratch, together with the images."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.text.encoder import Preparing, TextEncoder, initialize_weights
from mlcore.text.registry import TEXT_ENCODERS

WORD = re.compile(r"[^\W_]+")
GRAMS = (3, 4, 5)
MOST = 512  # pieces of a text that are looked at


@TEXT_ENCODERS.add(
    "small",
    title="Small tower, from scratch",
    family="text encoder",
    formula=r"W_2\,\mathrm{ReLU}\Big(W_1\,\tfrac1{\sqrt{|G|}}\sum_{g\in G}v_{h(g)}\Big)",
    paper="Words as bags of n-grams: Bojanowski et al., TACL 2017, arXiv:1607.04606, section 3.2",
    aliases=("fastText",),
)
class SmallTextTower(TextEncoder):
    """Adds up vectors of a text's words and of their 3 to 5 letters in a row, then a small network maps the sum.

    Letters are compared without case, accents or Unicode's compatibility forms, so "thumb" shares pieces with
    "Thumbs". Each piece has its vector by its CRC-32, the same on every machine; two pieces may share one.

    What to expect: It knows only words, or parts of words, of the texts it was trained on; a synonym is noise to it.
    The order of words does not count. Trains in the time of a small head.

    Shapes: pieces (T, P) int64 from `prepare`, 0 where a text has no more -> (T, embedding_size).
    """

    def __init__(
        self,
        embedding_size: int,
        *,
        width: Annotated[int, Knob("Numbers in the vector of a piece.", 8, 1024, log=True)] = 64,
        buckets: Annotated[int, Knob("Vectors that the pieces share.", 256, 262_144, log=True, rare=True)] = 16_384,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.buckets = buckets
        self.vectors = nn.EmbeddingBag(buckets + 1, width, mode="sum", padding_idx=0)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, embedding_size))
        initialize_weights(self, seed)

    def prepare_in_parts(self, texts: Sequence[str]) -> Preparing:
        yield from ()
        found = [
            [1 + zlib.crc32(piece.encode()) % self.buckets for piece in split_into_subwords(text)] for text in texts
        ]
        table = np.zeros((len(found), max(map(len, found), default=1) or 1), dtype=np.int64)
        for row, numbers in zip(table, found, strict=True):
            row[: len(numbers)] = numbers
        return torch.from_numpy(table)

    def forward(self, inputs: Tensor) -> Tensor:
        count = (inputs > 0).sum(dim=1, keepdim=True).clamp_min(1)
        return self.layers(self.vectors(inputs) / count.sqrt())


def fold_case(text: str) -> str:
    """Letters without case, accents and compatibility forms."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def split_into_subwords(text: str) -> list[str]:
    """A text's words, each between < and >, and the 3 to 5 letters in a row of them; of a very long text the first."""
    found: list[str] = []
    for word in WORD.findall(fold_case(text)):
        marked = f"<{word}>"
        found.append(marked)
        found += [
            marked[start : start + size]
            for size in GRAMS
            if size < len(marked)
            for start in range(len(marked) - size + 1)
        ]
        if len(found) >= MOST:
            return found[:MOST]
    return found
