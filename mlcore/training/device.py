"""Where a run computes: the device and how many threads."""

from __future__ import annotations

import os

import torch


def pick_device(wish: str) -> torch.device:
    """The wished device, or for "auto" CUDA, then MPS, then the CPU; ValueError if the wished one is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wish == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[wish]:
        raise ValueError(
            f"device '{wish}' is not available here; there is {', '.join(n for n, f in there.items() if f)}."
        )
    return torch.device(wish)


def default_threads() -> int:
    """One core is left for the page and the projector."""
    return max(1, (os.cpu_count() or 1) - 1)
