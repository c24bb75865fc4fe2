"""The declared losses."""

from __future__ import annotations

from mlcore.declare import Registry

LOSSES = Registry("loss")
