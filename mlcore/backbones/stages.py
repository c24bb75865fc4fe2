"""timm's networks: what they have beside a module's own, and their blocks, as timm itself groups the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

TENSORS_OF_A_LAYER = 2  # weight and bias


class TimmNetwork(nn.Module):
    """What every network of timm has; timm itself has no class that says so."""

    num_features: int
    forward_features: Callable[[Tensor], Tensor]
    group_matcher: Callable[..., dict[str, Any]]
    reset_classifier: Callable[[int], None]


def create_network(model: str, **options: Any) -> TimmNetwork:
    """`timm.create_model`."""
    import timm  # here, because it takes a second and the app only lists the parts that need it

    return cast(TimmNetwork, timm.create_model(model, **options))


def weights_by_stage(network: TimmNetwork) -> list[list[nn.Parameter]]:
    """Weights from the input to the output, stage by stage; a single layer after the last stage belongs to it.

    Raises: ValueError for a network that timm does not know how to group.
    """
    from timm.models import group_parameters

    try:
        groups = group_parameters(network, network.group_matcher(coarse=True))
    except (AttributeError, NotImplementedError, AssertionError) as error:
        raise ValueError(
            f"timm does not say what the blocks of {type(network).__name__} are, so all but the last cannot be "
            "frozen. Freeze nothing, batch norm or everything."
        ) from error
    named = dict(network.named_parameters())
    found = [[named[name] for name in names if name in named] for _, names in sorted(groups.items())]
    found = [weights for weights in found if weights]
    while len(found) > 1 and len(found[-1]) <= TENSORS_OF_A_LAYER:
        found[-2:] = [found[-2] + found[-1]]
    return found
