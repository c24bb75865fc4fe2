"""Training methods: what a step makes of a batch; one file each, declared by being imported here."""

from mlcore.training.methods.cascaded import CascadedEmbeddings
from mlcore.training.methods.daml import DeepAdversarialMetricLearning
from mlcore.training.methods.image_text import ImageText
from mlcore.training.methods.method import EmbedTexts, Outcome, TrainingMethod
from mlcore.training.methods.metric_only import MetricLossOnly
from mlcore.training.methods.registry import METHODS
from mlcore.training.methods.two_streams import TwoStreamMetricLoss
from mlcore.training.methods.unsupervised import UnsupervisedEmbeddingsUsingAugmentations
from mlcore.training.methods.with_classifier import TrainWithClassifier

__all__ = [
    "METHODS",
    "CascadedEmbeddings",
    "DeepAdversarialMetricLearning",
    "EmbedTexts",
    "ImageText",
    "MetricLossOnly",
    "Outcome",
    "TrainWithClassifier",
    "TrainingMethod",
    "TwoStreamMetricLoss",
    "UnsupervisedEmbeddingsUsingAugmentations",
]
