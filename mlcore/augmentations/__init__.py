"""Augmentations: random renderings of training images; one file each, declared by being imported here."""

from mlcore.augmentations.augmentation import Augmentation
from mlcore.augmentations.custom import CustomAugmentation
from mlcore.augmentations.light import LightAugmentation
from mlcore.augmentations.none import NoAugmentation
from mlcore.augmentations.registry import AUGMENTATIONS
from mlcore.augmentations.standard import StandardAugmentation
from mlcore.augmentations.strong import StrongAugmentation

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "CustomAugmentation",
    "LightAugmentation",
    "NoAugmentation",
    "StandardAugmentation",
    "StrongAugmentation",
]
