"""The declared training methods."""

from __future__ import annotations

from mlcore.declare import Registry
from mlcore.traits import MethodTrait

METHODS = Registry("training method", traits=MethodTrait)
