"""Networks that turn images into feature vectors. timm is imported when such a network is built, not before."""

from mlcore.backbones.backbone import Backbone, MapBackbone
from mlcore.backbones.efficientnet_lite0 import EfficientNetLite0
from mlcore.backbones.mlp import MLP
from mlcore.backbones.registry import BACKBONES
from mlcore.backbones.small_conv import SmallConv
from mlcore.backbones.timm_model import TimmModel
from mlcore.backbones.vectors import Vectors
from mlcore.input_format import InputFormat

__all__ = [
    "BACKBONES",
    "MLP",
    "Backbone",
    "EfficientNetLite0",
    "InputFormat",
    "MapBackbone",
    "SmallConv",
    "TimmModel",
    "Vectors",
]
