"""The declared text encoders."""

from __future__ import annotations

from collections.abc import Mapping

from mlcore.declare import KnobValue, Registry
from mlcore.text.encoder import TextEncoder
from mlcore.traits import TextEncoderTrait

TEXT_ENCODERS = Registry("text encoder", traits=TextEncoderTrait)


def build_tower(params: Mapping[str, KnobValue], embedding_size: int, seed: int) -> TextEncoder:
    """The text encoder that a method's settings name, as it is before training: a function of the seed."""
    part = TEXT_ENCODERS[str(params["encoder"])]
    values = {param.name: params[param.name] for param in part.params if param.name in params}
    return part.build({"embedding_size": embedding_size}, {"seed": seed}, **values)
