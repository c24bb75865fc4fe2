"""The networks a person can choose. Each is built from the size and channels of the images it will see."""

from mlcore.declare import Registry

# Traits: "feature map": it has one that can be pooled in other ways; "vectors": it takes feature vectors, not images.
BACKBONES = Registry("backbone")
