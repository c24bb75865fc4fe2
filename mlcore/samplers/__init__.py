"""Samplers: one file each, declared by being imported here."""

from mlcore.samplers.m_per_class import MPerClassSampler
from mlcore.samplers.registry import SAMPLERS
from mlcore.samplers.shuffle import ShuffleSampler

__all__ = ["SAMPLERS", "MPerClassSampler", "ShuffleSampler"]
