"""Losses: one file each, declared by being imported here."""

from mlcore.losses.adacos import AdaCosLoss
from mlcore.losses.adaface import AdaFaceLoss
from mlcore.losses.adapted_triplet import AdaptedTripletLoss
from mlcore.losses.angular import AngularLoss
from mlcore.losses.angular_n_pairs import AngularNPairsLoss
from mlcore.losses.arcface import ArcFaceLoss
from mlcore.losses.centroid_triplet import CentroidTripletLoss
from mlcore.losses.circle import CircleLoss
from mlcore.losses.circle_cl import CircleLossCL
from mlcore.losses.clip import ClipLoss
from mlcore.losses.combined_margin import CombinedMarginLoss
from mlcore.losses.contrastive import ContrastiveLoss
from mlcore.losses.cosface import CosFaceLoss
from mlcore.losses.curricularface import CurricularFaceLoss
from mlcore.losses.deep_ncm import DeepNCMLoss
from mlcore.losses.dynamic_soft_margin import DynamicSoftMarginLoss
from mlcore.losses.elasticface_arc import ElasticFaceArcLoss
from mlcore.losses.elasticface_cos import ElasticFaceCosLoss
from mlcore.losses.fast_ap import FastAPLoss
from mlcore.losses.fixed_adacos import FixedAdaCosLoss
from mlcore.losses.generalized_lifted_structure import GeneralizedLiftedStructureLoss
from mlcore.losses.histogram import HistogramLoss
from mlcore.losses.instance import InstanceLoss
from mlcore.losses.intra_pair_variance import IntraPairVarianceLoss
from mlcore.losses.large_margin_softmax import LargeMarginSoftmaxLoss
from mlcore.losses.lifted_structure import LiftedStructureLoss
from mlcore.losses.magface import MagFaceLoss
from mlcore.losses.manifold import ManifoldLoss
from mlcore.losses.margin import MarginLoss
from mlcore.losses.multi_similarity import MultiSimilarityLoss
from mlcore.losses.n_pairs import NPairsLoss
from mlcore.losses.nca import NCALoss
from mlcore.losses.normalized_linear import NormalizedLinearLoss
from mlcore.losses.normalized_softmax import NormalizedSoftmaxLoss
from mlcore.losses.ntxent import NTXentLoss
from mlcore.losses.p2s_grad import P2SGradLoss
from mlcore.losses.pnp import PNPLoss
from mlcore.losses.proxy_anchor import ProxyAnchorLoss
from mlcore.losses.proxy_nca import ProxyNCALoss
from mlcore.losses.proxy_nca_pp import ProxyNCAPlusPlusLoss
from mlcore.losses.ranked_list import RankedListLoss
from mlcore.losses.recall_at_k import RecallAtKLoss
from mlcore.losses.registry import LOSSES
from mlcore.losses.siglip import SigLipLoss
from mlcore.losses.smooth_ap import SmoothAPLoss
from mlcore.losses.snr_contrastive import SignalToNoiseRatioContrastiveLoss
from mlcore.losses.soft_triple import SoftTripleLoss
from mlcore.losses.softmax import SoftmaxLoss
from mlcore.losses.sphereface import SphereFaceLoss
from mlcore.losses.sub_center_arcface import SubCenterArcFaceLoss
from mlcore.losses.supcon import SupConLoss
from mlcore.losses.threshold_consistent_margin import ThresholdConsistentMarginLoss
from mlcore.losses.triplet_margin import TripletMarginLoss
from mlcore.losses.tuplet_margin import TupletMarginLoss
from mlcore.losses.vicreg import VICRegLoss
from mlcore.losses.vpl import VPLLoss
from mlcore.losses.wrappers.cross_batch_memory import CrossBatchMemory
from mlcore.losses.wrappers.multiple import MultipleLosses
from mlcore.losses.wrappers.registry import WRAPPERS
from mlcore.losses.wrappers.self_supervised import SelfSupervisedLoss

__all__ = [
    "LOSSES",
    "WRAPPERS",
    "AdaCosLoss",
    "AdaFaceLoss",
    "AdaptedTripletLoss",
    "AngularLoss",
    "AngularNPairsLoss",
    "ArcFaceLoss",
    "CentroidTripletLoss",
    "CircleLoss",
    "CircleLossCL",
    "ClipLoss",
    "CombinedMarginLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "CrossBatchMemory",
    "CurricularFaceLoss",
    "DeepNCMLoss",
    "DynamicSoftMarginLoss",
    "ElasticFaceArcLoss",
    "ElasticFaceCosLoss",
    "FastAPLoss",
    "FixedAdaCosLoss",
    "GeneralizedLiftedStructureLoss",
    "HistogramLoss",
    "InstanceLoss",
    "IntraPairVarianceLoss",
    "LargeMarginSoftmaxLoss",
    "LiftedStructureLoss",
    "MagFaceLoss",
    "ManifoldLoss",
    "MarginLoss",
    "MultiSimilarityLoss",
    "MultipleLosses",
    "NCALoss",
    "NPairsLoss",
    "NTXentLoss",
    "NormalizedLinearLoss",
    "NormalizedSoftmaxLoss",
    "P2SGradLoss",
    "PNPLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "ProxyNCAPlusPlusLoss",
    "RankedListLoss",
    "RecallAtKLoss",
    "SelfSupervisedLoss",
    "SigLipLoss",
    "SignalToNoiseRatioContrastiveLoss",
    "SmoothAPLoss",
    "SoftTripleLoss",
    "SoftmaxLoss",
    "SphereFaceLoss",
    "SubCenterArcFaceLoss",
    "SupConLoss",
    "ThresholdConsistentMarginLoss",
    "TripletMarginLoss",
    "TupletMarginLoss",
    "VICRegLoss",
    "VPLLoss",
]
