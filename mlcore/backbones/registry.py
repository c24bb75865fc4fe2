"""The networks a person can choose. Each is built from the size and channels of the images it will see."""

from mlcore.declare import Registry
from mlcore.traits import BackboneTrait

BACKBONES = Registry("backbone", traits=BackboneTrait)
