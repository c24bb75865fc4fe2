"""The declared samplers."""

from __future__ import annotations

from mlcore.declare import Registry

SAMPLERS = Registry("sampler")  # traits: "parent labels" wants two columns of them, "looks at the model" wants embed
