"""Losses: one file each, declared by being imported here."""

from mlcore.losses.arcface import ArcFaceLoss
from mlcore.losses.contrastive import ContrastiveLoss
from mlcore.losses.cosface import CosFaceLoss
from mlcore.losses.multi_similarity import MultiSimilarityLoss
from mlcore.losses.normalized_softmax import NormalizedSoftmaxLoss
from mlcore.losses.proxy_anchor import ProxyAnchorLoss
from mlcore.losses.registry import LOSSES
from mlcore.losses.supcon import SupConLoss
from mlcore.losses.triplet_margin import TripletMarginLoss

__all__ = [
    "LOSSES",
    "ArcFaceLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "MultiSimilarityLoss",
    "NormalizedSoftmaxLoss",
    "ProxyAnchorLoss",
    "SupConLoss",
    "TripletMarginLoss",
]
