"""The declared samplers."""

from __future__ import annotations

from mlcore.declare import Registry

SAMPLERS = Registry("sampler")
CODE_SAMPLERS = Registry("sampler for code")  # need more than one label per row: a hierarchy, or the model
