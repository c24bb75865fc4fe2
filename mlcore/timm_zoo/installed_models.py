"""What the installed timm says of its networks and their weights, without building any. It imports timm."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from timm.models import PretrainedCfg, get_pretrained_cfg, list_models, model_entrypoint

from mlcore.backbones.timm_model import nearest_resizing
from mlcore.timm_zoo import model_table
from mlcore.timm_zoo.model_table import SETTINGS, write_whole


def describe_model(name: str) -> dict[str, Any]:
    """What timm says of a network without building it."""
    return {"name": name, "family": model_entrypoint(name).__module__.rpartition(".")[2]} | input_settings(name)


def input_settings(model: str) -> dict[str, Any]:
    """How images are prepared for a network's default weights, or those of its tag."""
    config = pretrained_config(model)
    prepared = (
        *config.input_size[1:],
        int(config.fixed_input_size),
        config.crop_pct,
        nearest_resizing(config.interpolation),
    )
    return dict(zip(SETTINGS, prepared, strict=True))


def pretrained_config(model: str) -> PretrainedCfg:
    """Raises: ValueError for a network of which timm says nothing."""
    config = get_pretrained_cfg(model)
    if config is None:
        raise ValueError(f"timm: it does not say how images are prepared for '{model}'.")
    return config


def list_weights(name: str) -> Iterator[dict[str, Any]]:
    """A row of weights.csv for each of a network's weights on the hub, those it has without a tag first."""
    default = f"{name}.{pretrained_config(name).tag}"
    for tagged in sorted(list_models(f"{name}.*", pretrained=True), key=lambda tagged: (tagged != default, tagged)):
        config = pretrained_config(tagged)
        if config.hf_hub_id:
            tag, licence = tagged.partition(".")[2], config.license or ""
            row = {"name": name, "tag": tag, "repository": config.hf_hub_id, "licence": licence}
            yield row | input_settings(tagged)


def cache_names() -> None:
    """For lists read without timm: the names of the installed version, if it is not the one that was counted.

    A cache folder that cannot be written costs the newest names, nothing else.
    """
    if model_table.names_are_known():
        return
    names = list_models()
    rows = {
        "models": [list(describe_model(name).values()) for name in names],
        "weights": [list(row.values()) for name in names for row in list_weights(name)],
    }
    with contextlib.suppress(OSError):
        write_whole(model_table.names_file(), json.dumps(rows))
