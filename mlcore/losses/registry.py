"""The declared losses, and what every one of them takes beside its own arguments: regularizers.

    ArcFaceLoss(10, 64, embedding_regularizer=LpRegularizer(), embedding_reg_weight=0.01,
                weight_regularizer=RegularFaceRegularizer(), weight_reg_weight=0.1)

They are taken off before the loss's own constructor sees its arguments, and added to what it returns: a scalar grows by
weight times regularizer; a dict of parts gets them by name.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from torch import Tensor, nn

from mlcore.declare import PartFacts, PartSpec, Registry, with_signature, wrap_constructor
from mlcore.distances import DISTANCES
from mlcore.reducers import REDUCERS, Reduced
from mlcore.regularizers import REGULARIZERS
from mlcore.traits import LossTrait, ReducerTrait, RegularizerTrait

REGULARIZED = ("embedding_regularizer", "weight_regularizer")
REG_WEIGHTS = ("embedding_reg_weight", "weight_reg_weight")


class LossRegistry(Registry):
    """Declares losses as any registry does, and lets their constructors take regularizers.

    `renamed` maps what another library calls an argument to what it is called here: both names are taken.
    """

    def add(
        self, key: str, *, renamed: Mapping[str, str] | None = None, **facts: Unpack[PartFacts]
    ) -> Callable[[type], type]:
        declare_plain = super().add(key, **facts)

        def declare(cls: type) -> type:
            cls = declare_plain(cls)
            wrap_constructor(cls, with_regularizers)
            spec = self._specs[key]
            traits = (*spec.traits, LossTrait.CLASS_SHARES) if getattr(cls, "takes_shares", False) else spec.traits
            self._specs[key] = dataclasses.replace(spec, takes=read_takes(spec, cls), traits=traits)
            if renamed:
                wrap_constructor(cls, lambda init: with_other_names(init, renamed))
            return cls

        return declare


def read_takes(spec: PartSpec, cls: type) -> dict[str, tuple[str, ...]]:
    """The distances, reducers and regularizers that go with a loss.

    Distances are those of its class attribute `fitting_distances`, by default all. Left out are reducers and
    regularizers that give no scalar, or that need more than a training run can supply.

    Raises: ValueError for a distance that is not declared.
    """
    arguments = inspect.signature(cls).parameters
    takes = {}
    if "distance" in arguments:
        takes["distance"] = tuple(DISTANCES[key].key for key in getattr(cls, "fitting_distances", DISTANCES))
    if "reducer" in arguments:
        unfit = {ReducerTrait.WANTS_ANCHORS} if hasattr(cls, "without_anchors") else set()
        takes["reducer"] = tuple(
            key
            for key, part in REDUCERS.items()
            if ReducerTrait.IN_A_RUN in part.traits and not unfit & set(part.traits)
        )
    takes["embedding_regularizer"] = tuple(key for key, part in REGULARIZERS.items() if part.family == "embeddings")
    if spec.family == "proxy":
        takes["weight_regularizer"] = tuple(
            key
            for key, part in REGULARIZERS.items()
            if part.family == "proxies" and RegularizerTrait.IN_A_RUN in part.traits
        )
    return takes


def with_other_names(init: Callable[..., None], renamed: Mapping[str, str]) -> Callable[..., None]:
    """A constructor that takes some arguments under a second name too. Raises: TypeError where both are given."""

    @functools.wraps(init)
    def build(self: nn.Module, *args: object, **kwargs: object) -> None:
        for other, name in renamed.items():
            if other in kwargs:
                if name in kwargs:
                    raise TypeError(f"{type(self).__name__}: {other} is another name of {name}. Pass one of them.")
                kwargs[name] = kwargs.pop(other)
        init(self, *args, **kwargs)

    return with_signature(build, inspect.signature(init))


def with_regularizers(init: Callable[..., None]) -> Callable[..., None]:
    """A loss's constructor that also takes the four arguments of REGULARIZED and REG_WEIGHTS."""

    @functools.wraps(init)
    def build(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        found = {name: kwargs.pop(name, None) for name in REGULARIZED}
        weights = {name: kwargs.pop(name, 1.0) for name in REG_WEIGHTS}
        init(self, *args, **kwargs)
        if any(regularizer is not None for regularizer in found.values()):
            attach_regularizers(self, found, weights)

    own = inspect.signature(init)
    extra = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in REGULARIZED]
    extra += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=1.0) for name in REG_WEIGHTS]
    added = [argument for argument in extra if argument.name not in own.parameters]
    return with_signature(build, own.replace(parameters=[*own.parameters.values(), *added]))


def attach_regularizers(loss: nn.Module, found: dict[str, object], weights: dict[str, float]) -> None:
    """Keep the regularizers with the loss and add them to whatever it returns.

    Raises: ValueError for something that is no regularizer, a weight below 0, or proxies asked of a loss without any.
    """
    who = type(loss).__name__
    for name, regularizer in found.items():
        if regularizer is not None and not isinstance(regularizer, nn.Module):
            raise ValueError(f"{who}: {name} must be a regularizer, such as LpRegularizer(); got {regularizer!r}.")
    for name, weight in weights.items():
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f"{who}: {name} must be a number, at least 0; got {weight!r}.")
    if found["weight_regularizer"] is not None and not hasattr(loss, "proxies"):
        raise ValueError(
            f"{who}: has no proxies that weight_regularizer could be about. Pass it as embedding_regularizer, or leave "
            "it out."
        )
    for name, value in (found | weights).items():
        setattr(loss, name, value)
    loss.register_forward_hook(add_regularizers, with_kwargs=True)


def add_regularizers(loss: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Reduced) -> Reduced:
    """What a loss returns, with its regularizers."""
    terms: dict[str, Tensor] = {}
    if isinstance(loss.embedding_regularizer, nn.Module):
        embeddings = args[0] if args else kwargs["embeddings"]
        terms["embedding_reg_loss"] = loss.embedding_reg_weight * loss.embedding_regularizer(embeddings)
    if isinstance(loss.weight_regularizer, nn.Module):
        terms["weight_reg_loss"] = loss.weight_reg_weight * loss.weight_regularizer(loss.proxies)
    return {**output, **terms} if isinstance(output, dict) else output + sum(terms.values())


LOSSES = LossRegistry("loss", traits=LossTrait)
