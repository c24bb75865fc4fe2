"""The declared training methods."""

from __future__ import annotations

from mlcore.declare import Registry

# Traits: "two views" of each image, "own labels", "no proxies", "slices", "class shares" (images of two classes),
# "texts" beside the images.
METHODS = Registry("training method")
