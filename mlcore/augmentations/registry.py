"""The declared augmentations."""

from __future__ import annotations

from mlcore.declare import Registry

AUGMENTATIONS = Registry("augmentation")
