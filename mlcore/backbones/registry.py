"""The networks a person can choose. Each is built from the size and channels of the images it will see."""

from mlcore.declare import Registry

BACKBONES = Registry("backbone")  # trait "feature map": it has one that can be pooled in other ways
