"""The declared wrappers."""

from __future__ import annotations

from mlcore.declare import Registry

WRAPPERS = Registry("wrapper")
