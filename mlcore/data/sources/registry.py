"""Where images come from. A source is a class that takes a path and has `find()`, `open(file)` and `stamp(file)`."""

from __future__ import annotations

from mlcore.declare import Registry
from mlcore.traits import SourceTrait

SOURCES = Registry("data source", traits=SourceTrait)
