"""From a RunSpec to the parts that train: sampler, embedder, losses, miners, method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.augmentations import AUGMENTATIONS, Augmentation
from mlcore.backbones import BACKBONES
from mlcore.data import ImageTable
from mlcore.declare import Registry
from mlcore.distances import DISTANCES
from mlcore.losses import LOSSES
from mlcore.losses.wrappers.multiple import MultipleLosses
from mlcore.losses.wrappers.registry import WRAPPERS
from mlcore.miners import MINERS, SUBSET_MINERS
from mlcore.reducers import REDUCERS
from mlcore.regularizers import REGULARIZERS
from mlcore.samplers import SAMPLERS
from mlcore.samplers.epochs import Sampler
from mlcore.spec.compatibility import refuse_mismatch
from mlcore.spec.run_spec import RunSpec
from mlcore.spec.sections import PartChoice, WeightedPart
from mlcore.text.image_texts import ImageTexts
from mlcore.training.embedder import Embedder
from mlcore.training.methods import METHODS, TrainingMethod
from mlcore.traits import SamplerTrait
from mlcore.tuples import Miner

Embed = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """What is trained on: each training row's class, renumbered from 0, and its label levels as the table has them.

    `image_texts`: what the whole table has as texts, for methods that read them.

    Shapes: labels (N,) int64; levels (N, 1) int64, or (N, 2) where classes have parents.
    """

    labels: np.ndarray
    levels: np.ndarray
    image_texts: ImageTexts | None = None

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1

    def class_weights(self) -> Tensor:
        """(C,) weights that give every class the same part in a mean over samples."""
        counts = np.bincount(self.labels)
        return torch.from_numpy(len(self.labels) / (len(counts) * counts)).float()


def build_model(spec: RunSpec, table: ImageTable) -> Embedder:
    """Raises: ValueError where vectors would go through a network for images, or images through none."""
    refuse_mismatch(spec, table.vectors is not None)
    sizes = {"image_size": table.image_size, "channels": table.channels}
    if table.vectors is not None:
        sizes["vector_size"] = table.vectors.shape[1]
    backbone = BACKBONES[spec.backbone.key].build(sizes, **spec.backbone.params)
    return Embedder(backbone, spec.head, spec.backbone.freeze, spec.backbone.pooling)


def build_augmentation(spec: RunSpec) -> Augmentation:
    return AUGMENTATIONS[spec.augment.key].build({}, **spec.augment.params)


def build_method(spec: RunSpec, rows: TrainingRows, model: Embedder) -> TrainingMethod:
    """The method with its losses and its miner; where the wrapper wants the miner, it has it instead."""
    miner = MINERS[spec.miner.key].build({}, **spec.miner.params)
    wrapped = spec.wrapper is not None
    sizes = {
        "make_loss": lambda size: build_loss(spec, rows, size, miner),
        "miner": None if wrapped else miner,
        "num_classes": rows.num_classes,
        "embedding_size": model.embedding_size,
        "feature_size": model.feature_size,
        "image_texts": rows.image_texts,
    }
    return METHODS[spec.method.key].build(sizes, **spec.method.params)


def build_loss(spec: RunSpec, rows: TrainingRows, embedding_size: int, miner: nn.Module) -> nn.Module:
    """The loss for embeddings of a size with all its parts, a second one added, and the wrapper around both."""
    sizes = {"num_classes": rows.num_classes, "embedding_size": embedding_size}
    extras: dict[str, object] = {
        "distance": build_part(DISTANCES, spec.distance),
        "reducer": build_part(REDUCERS, spec.reducer, {"weights": rows.class_weights()}),
    }
    for name in ("embedding_regularizer", "weight_regularizer"):
        choice: WeightedPart | None = getattr(spec, name)
        extras[name] = build_part(REGULARIZERS, choice)
        extras[name.replace("regularizer", "reg_weight")] = 1.0 if choice is None else choice.weight
    given = {name: part for name, part in extras.items() if part is not None}
    loss = LOSSES[spec.loss.key].build(sizes, given, **spec.loss.params)
    if spec.second_loss is not None:
        second = LOSSES[spec.second_loss.key].build(sizes, **spec.second_loss.params)
        loss = MultipleLosses([loss, second], weights=[1.0, spec.second_loss.weight])
    if spec.wrapper is not None:
        sizes = {"loss": loss, "embedding_size": embedding_size}
        loss = WRAPPERS[spec.wrapper.key].build(sizes, {"miner": miner}, **spec.wrapper.params)
    return loss


def build_part(
    registry: Registry, choice: PartChoice | None, sizes: Mapping[str, object] | None = None
) -> nn.Module | None:
    return None if choice is None else registry[choice.key].build(sizes, **choice.params)


def build_subset_miner(spec: RunSpec, method: TrainingMethod) -> nn.Module | None:
    """What picks the rows of a batch that are trained on, by the method's own loss and miner."""
    if spec.subset_miner is None:
        return None
    part = SUBSET_MINERS[spec.subset_miner.key]
    return part.build({"loss": method.loss}, {"miner": method.miner}, **spec.subset_miner.params)


def build_sampler(spec: RunSpec, rows: TrainingRows, embed: Embed, miner: Miner | None) -> Sampler:
    """The sampler. Raises: ValueError where it wants parent classes and the data has none."""
    part = SAMPLERS[spec.sampler.key]
    labels = rows.labels
    if SamplerTrait.PARENT_LABELS in part.traits:
        if rows.levels.shape[1] < 2:
            raise ValueError(
                f"{part.title}: needs data whose classes have parent classes, and '{spec.dataset.key}' has none. "
                "Choose another sampler, or data with parents, such as glyphs."
            )
        labels = rows.levels
    sizes = {"labels": labels, "batch_size": spec.sampler.batch_size, "embed": embed, "miner": miner}
    return part.build(sizes, **spec.sampler.params)


def unwrap_loss(loss: nn.Module) -> nn.Module:
    """The loss whose proxies and margins are drawn: what a wrapper wraps, and the first of several."""
    if isinstance(loss, MultipleLosses):
        return unwrap_loss(loss.members()[0])
    inner = getattr(loss, "loss", None)
    return unwrap_loss(inner) if isinstance(inner, nn.Module) else loss
