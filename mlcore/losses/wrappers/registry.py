"""The declared wrappers."""

from __future__ import annotations

from mlcore.declare import Registry
from mlcore.traits import WrapperTrait

WRAPPERS = Registry("wrapper", traits=WrapperTrait)
