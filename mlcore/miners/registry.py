"""The declared miners."""

from __future__ import annotations

from mlcore.declare import Registry

MINERS = Registry("miner")
SUBSET_MINERS = Registry("subset miner")  # choose rows of a batch, before the step that trains on them
