"""The declared training methods."""

from __future__ import annotations

from mlcore.declare import Registry

METHODS = Registry("training method")  # traits: "two views" of each image, "own labels", "no proxies", "slices"
