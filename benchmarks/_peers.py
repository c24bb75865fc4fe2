"""Every declared loss and miner on made-up batches, beside the same part of another library where there is one."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metric_learning_layers as mll
import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import miners as pml_miners
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlcore.losses import LOSSES, CrossBatchMemory
from mlcore.miners import MINERS, SUBSET_MINERS

EMBEDDING_SIZE = 128
MEMORY = "cross_batch_memory of "
PML, MLL = "PML", "MLL"
THEIR_ARGUMENTS: dict[str, Callable[[int], dict[str, Any]]] = {  # of the number of classes
    "instance": lambda classes: {},
    "manifold": lambda classes: {"l": EMBEDDING_SIZE},
    "p2s_grad": lambda classes: {"descriptors_dim": EMBEDDING_SIZE, "num_classes": classes},
    "ranked_list": lambda classes: {"margin": 0.4, "Tn": 10},
}
TAKE_NO_LABELS = ("manifold",)
LAYERS = {
    "adacos": mll.AdaCos,
    "deep_ncm": mll.DeepNCM,
    "fixed_adacos": mll.FixedAdaCos,
    "normalized_linear": mll.ScaledNormalizedLinear,
}


class LayerLoss(nn.Module):
    """A layer of metric-learning-layers and the cross-entropy that it is made for."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.layer(embeddings, labels), labels)


def batch_of(batch_size: int, classes: int) -> tuple[Tensor, Tensor]:
    """Embeddings around their class's centre, so that some triplets are solved and some are not."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch_size) % classes
    centres = torch.randn(classes, EMBEDDING_SIZE, generator=generator)
    noise = torch.randn(batch_size, EMBEDDING_SIZE, generator=generator)
    return (centres[labels] + 1.5 * noise), labels


def our_loss(key: str, batch_size: int, classes: int) -> nn.Module:
    """The declared loss as it is by default, or a memory of two batches around it."""
    torch.manual_seed(0)
    if key.startswith(MEMORY):
        inner = our_loss(key.removeprefix(MEMORY), batch_size, classes)
        return CrossBatchMemory(inner, EMBEDDING_SIZE, memory_size=2 * batch_size)
    return LOSSES[key].build({"num_classes": classes, "embedding_size": EMBEDDING_SIZE})


def loss_peer(key: str) -> str | None:
    """Which library has this loss too."""
    if key.startswith(MEMORY):
        return PML
    if hasattr(pml_losses, LOSSES[key].target.partition(":")[2]):
        return PML
    return MLL if key in LAYERS else None


def their_loss(key: str, batch_size: int, classes: int) -> nn.Module:
    torch.manual_seed(0)
    if key.startswith(MEMORY):
        inner = their_loss(key.removeprefix(MEMORY), batch_size, classes)
        return pml_losses.CrossBatchMemory(inner, EMBEDDING_SIZE, memory_size=2 * batch_size)
    if loss_peer(key) == MLL:
        return LayerLoss(LAYERS[key](EMBEDDING_SIZE, classes))
    cls = getattr(pml_losses, LOSSES[key].target.partition(":")[2])
    sizes = {"num_classes": classes, "embedding_size": EMBEDDING_SIZE} if LOSSES[key].sizes else {}
    return cls(**THEIR_ARGUMENTS[key](classes) if key in THEIR_ARGUMENTS else sizes)


def our_miner(key: str) -> Callable[..., Any]:
    if key in SUBSET_MINERS:
        return SUBSET_MINERS[key].build({"loss": LOSSES["triplet_margin"].build()})
    return MINERS[key].build()


def miner_peer(key: str) -> str | None:
    return PML if their_miner_class(key) else None


def their_miner_class(key: str) -> type | None:
    spec = SUBSET_MINERS[key] if key in SUBSET_MINERS else MINERS[key]
    return getattr(pml_miners, spec.target.partition(":")[2], None)


def their_miner(key: str) -> Callable[..., Any]:
    return their_miner_class(key)()


def loss_step(whose: str, key: str, batch_size: int, classes: int) -> Callable[[], float]:
    """One forward and backward of "our" or "their" loss."""
    loss = (our_loss if whose == "our" else their_loss)(key, batch_size, classes)
    embeddings, labels = batch_of(batch_size, classes)
    two_views = key in LOSSES and LOSSES[key].family == "views"
    others = {"ref_emb": embeddings.roll(classes, dims=0)} if two_views else {"labels": labels}
    if whose == "their" and key in TAKE_NO_LABELS:
        others = {}
    return functools.partial(forward_and_backward, loss, embeddings, others)


def forward_and_backward(
    loss: nn.Module, embeddings: Tensor, others: dict[str, Any], miner: Callable[..., Any] | None = None
) -> float:
    leaf = embeddings.clone().requires_grad_()
    if miner is not None:
        others = others | {"indices_tuple": miner(leaf, others["labels"])}
    value = loss(leaf, **others)
    value.backward()
    return value.item()


def miner_call(whose: str, key: str, batch_size: int, classes: int) -> Callable[[], Any]:
    """One call of "our" or "their" miner; a batch of ready triplets is cut to whole ones."""
    miner = (our_miner if whose == "our" else their_miner)(key)
    embeddings, labels = batch_of(batch_size, classes)
    if key == "packaged_triplets":
        whole = batch_size - batch_size % 3
        embeddings, labels = embeddings[:whole], labels[:whole]
    return functools.partial(miner, embeddings, labels)


def mined_step(whose: str, miner_key: str, key: str, batch_size: int, classes: int) -> Callable[[], float]:
    """One call of a miner, then forward and backward of the loss on what it found."""
    loss = (our_loss if whose == "our" else their_loss)(key, batch_size, classes)
    miner = (our_miner if whose == "our" else their_miner)(miner_key)
    embeddings, labels = batch_of(batch_size, classes)
    return functools.partial(forward_and_backward, loss, embeddings, {"labels": labels}, miner)
