"""The declared samplers."""

from __future__ import annotations

from mlcore.declare import Registry

SAMPLERS = Registry("sampler")
MODEL_SAMPLERS = Registry("sampler that asks the model")
