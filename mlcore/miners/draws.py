"""Random numbers of the miners that draw: their own, and the same again after a resume."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.declare import Knob

SEED = Knob("Where the draws start: the same seed draws the same.", 0, 2**31 - 1)


class DrawingMiner(nn.Module):
    """A miner with a torch.Generator of its own, started anew for each call from the seed and the number of the call.

    That number is a buffer, so a resumed run draws what it would have drawn. It stands still in evaluation mode. The
    draws are made on the CPU, so they are the same on every device.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.generator = torch.Generator()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def start_draws(self) -> None:
        state = np.random.SeedSequence([self.seed, int(self.calls)]).generate_state(1, np.uint64)
        self.generator.manual_seed(int(state[0] >> np.uint64(1)))
        if self.training:
            self.calls += 1

    def uniform(self, *shape: int, device: torch.device) -> Tensor:
        """Numbers in [0, 1), float64."""
        return torch.rand(shape, generator=self.generator, dtype=torch.float64).to(device)
