"""Which rows each step of a run trains on: a function of the step, so that a resumed run goes on with the same ones."""

from __future__ import annotations

import numpy as np
import torch

from mlcore.samplers.epochs import Sampler
from mlcore.training.checkpoint import CheckpointState


class Batches:
    """The batches of a run, `accumulate` of them a step, epoch after epoch from a sampler.

    Every epoch has as many as the first; should the sampler give fewer later, they come again. Where the sampler looks
    at the model, `keep` remembers an epoch's batches in the checkpoint: they could not be drawn again.
    """

    def __init__(self, sampler: Sampler, seed: int, accumulate: int, keep: CheckpointState | None) -> None:
        self.sampler, self.seed, self.accumulate, self.keep = sampler, seed, accumulate, keep
        self.per_epoch, self.size = sampler.epoch(1, seed).shape
        self._epoch = 0
        self._drawn = np.zeros((0, 0), dtype=np.int64)

    def number(self, step: int, number: int = 0) -> int:
        """How many batches came before the one of that number in the step after `step`."""
        return step * self.accumulate + number

    def place(self, step: int, number: int = 0) -> tuple[int, int]:
        """Its epoch, from 1, and its place in it."""
        epoch, place = divmod(self.number(step, number), self.per_epoch)
        return epoch + 1, place

    def rows(self, step: int, number: int = 0) -> np.ndarray:
        """(B,) int64: its places in the training split."""
        epoch, place = self.place(step, number)
        if self._epoch != epoch:
            self._epoch, self._drawn = epoch, self.drawn(epoch, place)
        return self._drawn[place % len(self._drawn)]

    def drawn(self, epoch: int, place: int) -> np.ndarray:
        if self.keep is None:
            return self.sampler.epoch(epoch, self.seed)
        if place == 0 or self.keep.plan is None:
            self.keep.plan = torch.from_numpy(self.sampler.epoch(epoch, self.seed))
        return self.keep.plan.numpy()
