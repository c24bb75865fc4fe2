"""How a loss is declared: from what it says, without building it."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from mlcore.distances import DISTANCES
from mlcore.losses.registry import LossRegistry


class Unbuilt(nn.Module):
    """A loss that may not be built."""

    def __init__(self, *, distance: Any = None, reducer: Any = None) -> None:
        raise AssertionError("a declaration built the loss")


def declare(loss: type) -> LossRegistry:
    registry = LossRegistry("loss")
    registry.add("unbuilt", title="Unbuilt", family="pair")(loss)
    return registry


def test_a_declaration_builds_no_loss():
    assert declare(type("AnyDistance", (Unbuilt,), {}))["unbuilt"].takes["distance"] == tuple(DISTANCES)


def test_only_the_distances_that_a_loss_names_are_offered():
    loss = type("OneDistance", (Unbuilt,), {"fitting_distances": ("cosine",)})
    assert declare(loss)["unbuilt"].takes["distance"] == ("cosine",)


def test_a_distance_that_is_not_declared_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"There is no distance 'cosin'\. Did you mean 'cosine'"):
        declare(type("Misspelt", (Unbuilt,), {"fitting_distances": ("cosin",)}))
