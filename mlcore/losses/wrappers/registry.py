"""The declared wrappers."""

from __future__ import annotations

from mlcore.declare import Registry

WRAPPERS = Registry("wrapper")  # trait "in a run": goes round a run's one loss, in one process
