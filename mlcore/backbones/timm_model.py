"""Any network of the timm library, by name."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from mlcore.backbones.backbone import MapBackbone
from mlcore.backbones.registry import BACKBONES
from mlcore.backbones.stages import TimmNetwork, create_network, weights_by_stage
from mlcore.declare import Knob, nearest_word
from mlcore.input_format import InputFormat, as_side, scale_size
from mlcore.traits import BackboneTrait

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")  # an architecture and perhaps a tag; never a path, URL or hub id


@BACKBONES.add(
    "timm",
    title="timm model",
    family="timm",
    paper="Wightman, PyTorch Image Models, 2019",
    traits=(BackboneTrait.FEATURE_MAP,),
)
class TimmModel(MapBackbone):
    """Any of timm's networks by its name, such as resnet18, convnext_atto or vit_tiny_patch16_224.

    Random weights, from torch's global generator, unless `pretrained` is set; then they are taken from the local
    Hugging Face cache or fetched, as safetensors only, and if neither is possible that is an error.

    Shapes: images (B, 3, h, w) float -> (B, feature_size).
    Raises: ValueError if there is no such network, its weights cannot be had, or it cannot take images of this size.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        *,
        model: Annotated[str, Knob("The network's name in timm, optionally with a weights tag.")] = "resnet18",
        pretrained: Annotated[bool, Knob("Start from published weights instead of random ones.")] = False,
        side: Annotated[
            int | None,
            Knob(
                "Shorter side of the network's input; a network of fixed size keeps its own.",
                32,
                512,
                unit="px",
                none="as the data, at least 32 px",
            ),
        ] = None,
        as_published: Annotated[
            bool,
            Knob(
                "Prepare images as its weights have seen them: their own way of resizing, size (unless a side is set) "
                "and crop of the middle. Several times slower on small images.",
                rare=True,
            ),
        ] = False,
        grey_input: Annotated[
            bool,
            Knob("For grey images one channel instead of three equal ones.", needs="channels", rare=True),
        ] = False,
        channels: int = 3,
    ) -> None:
        super().__init__()
        check_name(model)
        self.pretrained = pretrained
        config = known_config(model)
        fixed = config.input_size[1:] if config.fixed_input_size else None
        size = fixed or scale_size(image_size, side, at_least=32)
        seen: dict[str, Any] = {"mean": tuple(config.mean), "std": tuple(config.std)}
        if as_published:
            size = fixed or ((side, side) if side else config.input_size[1:])
            seen |= {"crop": config.crop_pct, "interpolation": nearest_resizing(config.interpolation)}
        channels = 1 if grey_input and channels == 1 else 3
        if channels == 1:
            seen |= {name: (sum(seen[name]) / 3.0,) for name in ("mean", "std")}
        self.input_format = InputFormat(as_side(size), channels, **seen)
        if pretrained:
            self.network = with_weights(model, find_published_weights(model, config), channels)
        else:
            self.network = create_network(model, pretrained=False, num_classes=0, in_chans=channels)
        self.feature_size = measure_feature_size(self.network, self.input_format, model)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, map_size, h, w): its last map, before it makes a vector of it."""
        return self.network.forward_features(images)

    @torch.no_grad()
    def map_size(self) -> int:
        """Channels of the last map. Raises: ValueError for a network that has none, such as a transformer."""
        height, width = self.input_format.size
        mode = self.network.training
        found = self.network.eval().forward_features(torch.zeros(1, self.input_format.channels, height, width))
        self.network.train(mode)
        if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1] != self.network.num_features:
            raise ValueError(
                f"timm: {type(self.network).__name__} has no last map of (channels, height, width) that could be "
                "pooled. Set pooling to 'own', or choose a convolutional network."
            )
        return found.shape[1]

    def weights_by_block(self) -> list[list[nn.Parameter]]:
        """Its weights block by block, the last one with all that comes after it."""
        return weights_by_stage(self.network)


def check_name(model: str) -> None:
    """Refuse, before anything is imported or opened, what is not a plain name."""
    if not NAME.fullmatch(model):
        raise ValueError(
            f"timm: model must be a plain name of lower-case letters, digits and _, such as resnet18; got {model!r}. "
            "Paths, addresses and hub ids are not taken."
        )


def known_config(model: str) -> PretrainedCfg:
    """timm's own record of the network `model`; ValueError with the nearest name if there is none."""
    from timm.models import get_pretrained_cfg, is_model, list_models

    architecture, _, tag = model.partition(".")
    if not is_model(architecture):
        raise ValueError(f"timm: there is no model '{architecture}'.{suggest_name(architecture, list_models())}")
    tagged = list_models(f"{architecture}.*", pretrained=True)
    if tag and model not in tagged:
        raise ValueError(f"timm: {architecture} has no weights '{tag}'.{suggest_name(model, tagged)}")
    config = get_pretrained_cfg(model)
    if config is None:
        raise ValueError(f"timm: it does not say how images are prepared for '{model}'. Choose another model.")
    return config


def nearest_resizing(interpolation: str) -> str:
    """The kind of resizing here that is nearest to timm's."""
    return "bilinear" if interpolation == "bilinear" else "bicubic"


def suggest_name(name: str, known: list[str]) -> str:
    """The nearest of a thousand names, or where to look, but never all of them."""
    guess = nearest_word(name, known)
    return guess if "Did you mean" in guess else " `timm.list_models()` has all names."


def find_published_weights(model: str, config: PretrainedCfg) -> Path:
    """The safetensors file of the network's published weights, from the local cache or fetched into it."""
    from huggingface_hub import hf_hub_download

    cure = (
        "Choose the backbone efficientnet_lite0, whose ImageNet weights need no network, or set pretrained=false "
        "for random weights."
    )
    if not config.hf_hub_id:
        raise ValueError(f"timm: no pretrained weights are published for '{model}'. {cure}")
    named = config.hf_hub_filename or ""
    file = named if named.endswith(".safetensors") else "model.safetensors"
    try:
        return Path(hf_hub_download(config.hf_hub_id, file, local_files_only=True))
    except (OSError, ValueError):  # huggingface_hub's errors are kinds of these two
        pass
    if not hub_answers():
        raise ValueError(
            f"timm: the pretrained weights of '{model}' have no local copy and no network to come by. {cure}"
        )
    try:
        return Path(hf_hub_download(config.hf_hub_id, file))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"timm: the pretrained weights of '{model}' have no local copy and could not be fetched as safetensors "
            f"({type(error).__name__}). {cure}"
        ) from error


def with_weights(model: str, weights: Path, channels: int = 3) -> TimmNetwork:
    """The network holding the tensors of a safetensors file, all of them: none may be left random.

    For one channel, timm sums the first layer's weights over red, green and blue.
    """
    overlay = {"file": str(weights), "custom_load": False}
    try:  # with its classifier, because timm loads strictly only then
        network = create_network(model, pretrained=True, pretrained_cfg_overlay=overlay, in_chans=channels)
    except (RuntimeError, KeyError) as error:
        raise ValueError(
            f"timm: '{model}' and its published weights do not fit ({str(error).splitlines()[0]}). "
            "Set pretrained=false or choose another model."
        ) from error
    network.reset_classifier(0)
    return network


def hub_answers(timeout: float = 5.0) -> bool:
    """Whether the Hugging Face hub can be reached, asked once: its own client retries for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=timeout):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@torch.no_grad()
def measure_feature_size(network: nn.Module, input_format: InputFormat, model: str) -> int:
    """Length of the features, by asking the network: timm's own figure is not always that of its output."""
    height, width = input_format.size
    try:
        features = network.eval()(torch.zeros(1, input_format.channels, height, width))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise ValueError(
            f"timm: '{model}' must take images of {height} x {width} px; it failed ({error}). Set a larger side."
        ) from error
    finally:
        network.train()
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise ValueError(f"timm: '{model}' must return one vector an image, which it does not. Choose another model.")
    return features.shape[1]
