"""Samples drawn as often as a miner finds them difficult."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mlcore.declare import Knob
from mlcore.samplers.epochs import count_coverage, epoch_generator, row_labels
from mlcore.samplers.registry import SAMPLERS
from mlcore.traits import SamplerTrait
from mlcore.tuples import Miner, sample_weights


@SAMPLERS.add(
    "tuples_to_weights",
    title="Tuples to weights",
    family="mined",
    aliases=("TuplesToWeightsSampler (pytorch-metric-learning)",),
    traits=(SamplerTrait.LOOKS_AT_THE_MODEL,),
)
class TuplesToWeightsSampler:
    """At the start of an epoch, embeds samples, mines them as one batch, and draws those in many tuples most often.

    `embed(rows)` gives the embeddings of rows, (n, D), in order; `miner(embeddings, labels)` gives tuples. An epoch has
    `subset_size` draws (filled up to whole batches), with replacement, from a random subset of that size
    (pytorch-metric-learning takes positions in the subset for positions in the data). Where the miner finds nothing,
    all of the subset are equally likely.

    What to expect: Time goes to difficult samples, and to mislabelled ones. The weights are as old as the epoch; a
    sample that is in no tuple is not seen in it at all.

    Shapes: labels (N,). Raises: ValueError if `embed` does not give a row per sample.
    """

    visits_everyone = False

    def __init__(
        self,
        labels: ArrayLike,
        batch_size: int,
        embed: Callable[[np.ndarray], Tensor],
        miner: Miner,
        *,
        subset_size: Annotated[
            int | None, Knob("Samples embedded for an epoch.", 1, 1_000_000, none="all samples", log=True)
        ] = None,
    ) -> None:
        self.labels = row_labels("tuples_to_weights", labels)
        self.batch_size = batch_size
        self.embed = embed
        self.miner = miner
        self.subset_size = min(subset_size or len(self.labels), len(self.labels))

    def epoch(self, epoch: int, seed: int) -> np.ndarray:
        """(batches, batch_size) positions into `labels`; depends on `epoch`, `seed` and what `embed` gives."""
        rng = epoch_generator(epoch, seed)
        rows = np.sort(rng.permutation(len(self.labels))[: self.subset_size])
        draws = -(-len(rows) // self.batch_size) * self.batch_size
        return rng.choice(rows, size=(draws // self.batch_size, self.batch_size), p=self.shares(rows))

    @torch.no_grad()
    def shares(self, rows: np.ndarray) -> np.ndarray:
        """How likely each of `rows` is to be drawn."""
        embeddings = self.embed(rows)
        if embeddings.ndim != 2 or len(embeddings) != len(rows):
            raise ValueError(
                f"tuples_to_weights: embed must give one row per sample, ({len(rows)}, D); got "
                f"{tuple(embeddings.shape)}."
            )
        labels = torch.from_numpy(self.labels[rows]).to(embeddings.device)
        weights = sample_weights(self.miner(embeddings, labels), len(rows), embeddings).double().cpu().numpy()
        total = weights.sum()
        return weights / total if total > 0 else np.full(len(rows), 1.0 / len(rows))

    def coverage(self) -> dict[str, int]:
        """Samples and classes visited in an epoch, and how many there are; embeds once."""
        return count_coverage(self.epoch(1, 0), self.labels)
