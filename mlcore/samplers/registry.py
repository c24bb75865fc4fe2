"""The declared samplers."""

from __future__ import annotations

from mlcore.declare import Registry
from mlcore.traits import SamplerTrait

SAMPLERS = Registry("sampler", traits=SamplerTrait)
