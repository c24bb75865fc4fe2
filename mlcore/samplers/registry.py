"""The declared samplers."""

from __future__ import annotations

from mlcore.declare import Registry

SAMPLERS = Registry("sampler")
