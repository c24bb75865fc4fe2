"""Metric learning: losses, miners, samplers, training and evaluation, without the screen.

from mlcore import RunSpec, train
for event in train(RunSpec.read({"dataset": "digits", "loss": "arcface"})):
    print(event)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlcore.spec.run_spec import RunSpec
    from mlcore.training.loop import train

__all__ = ["RunSpec", "train"]

HOMES = {"RunSpec": "mlcore.spec.run_spec", "train": "mlcore.training.loop"}


def __getattr__(name: str) -> Any:
    """Import torch only when training is asked for."""
    if name not in HOMES:
        raise AttributeError(f"mlcore has no '{name}'")
    return getattr(importlib.import_module(HOMES[name]), name)
