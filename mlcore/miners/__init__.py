"""Miners: one file each, declared by being imported here."""

from mlcore.miners.batch_hard import BatchHardMiner
from mlcore.miners.multi_similarity import MultiSimilarityMiner
from mlcore.miners.none import NoMiner
from mlcore.miners.registry import MINERS
from mlcore.miners.triplet_margin import TripletMarginMiner

__all__ = ["MINERS", "BatchHardMiner", "MultiSimilarityMiner", "NoMiner", "TripletMarginMiner"]
