"""Miners: one file each, declared by being imported here."""

from mlcore.miners.angular import AngularMiner
from mlcore.miners.batch_easy_hard import BatchEasyHardMiner
from mlcore.miners.batch_hard import BatchHardMiner
from mlcore.miners.distance_weighted import DistanceWeightedMiner
from mlcore.miners.hdc import HDCMiner
from mlcore.miners.maximum_loss import MaximumLossMiner
from mlcore.miners.multi_similarity import MultiSimilarityMiner
from mlcore.miners.none import NoMiner
from mlcore.miners.packaged_triplets import EmbeddingsAlreadyPackagedAsTriplets
from mlcore.miners.pair_margin import PairMarginMiner
from mlcore.miners.registry import MINERS, SUBSET_MINERS
from mlcore.miners.triplet_margin import TripletMarginMiner
from mlcore.miners.uniform_histogram import UniformHistogramMiner

__all__ = [
    "MINERS",
    "SUBSET_MINERS",
    "AngularMiner",
    "BatchEasyHardMiner",
    "BatchHardMiner",
    "DistanceWeightedMiner",
    "EmbeddingsAlreadyPackagedAsTriplets",
    "HDCMiner",
    "MaximumLossMiner",
    "MultiSimilarityMiner",
    "NoMiner",
    "PairMarginMiner",
    "TripletMarginMiner",
    "UniformHistogramMiner",
]
