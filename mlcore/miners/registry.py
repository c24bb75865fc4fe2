"""The declared miners."""

from __future__ import annotations

from mlcore.declare import Registry

MINERS = Registry("miner")
