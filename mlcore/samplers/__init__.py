"""Samplers: one file each, declared by being imported here."""

from mlcore.samplers.balanced import BalancedSampler
from mlcore.samplers.fixed_triplets import FixedSetOfTriplets
from mlcore.samplers.hierarchical import HierarchicalSampler
from mlcore.samplers.m_per_class import MPerClassSampler
from mlcore.samplers.registry import SAMPLERS
from mlcore.samplers.shuffle import ShuffleSampler
from mlcore.samplers.tuples_to_weights import TuplesToWeightsSampler

__all__ = [
    "SAMPLERS",
    "BalancedSampler",
    "FixedSetOfTriplets",
    "HierarchicalSampler",
    "MPerClassSampler",
    "ShuffleSampler",
    "TuplesToWeightsSampler",
]
