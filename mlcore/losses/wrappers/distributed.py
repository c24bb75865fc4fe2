"""Losses and miners over the batches of all processes (torch.distributed), joined in the order of their ranks."""

from __future__ import annotations

from typing import Annotated, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mlcore.autograd_context import SavedTensors
from mlcore.declare import Knob
from mlcore.losses.wrappers.cross_batch_memory import CrossBatchMemory
from mlcore.losses.wrappers.registry import WRAPPERS
from mlcore.miners.own_copies import mine_others
from mlcore.reducers import Reduced
from mlcore.tuples import Miner, Pairs, all_pairs

EFFICIENT = Knob("Each process takes only its own batch as anchors.")


@WRAPPERS.add(
    "distributed_loss",
    title="Distributed loss",
    family="wrapper",
    formula=r"L\big([x_1,\dots,x_W]\big)",
    aliases=("DistributedLossWrapper (pytorch-metric-learning)", "all_gather"),
)
class DistributedLossWrapper(nn.Module):
    """Gives a loss the embeddings of all processes, as if one process had the joined batch.

    The value is that of the joined batch, the same on every rank (pytorch-metric-learning multiplies it by the number
    of processes). The gradient of a rank's embeddings is multiplied by that number, since DistributedDataParallel
    averages over ranks: the model then gets that of the joined batch. Proxies get it as it is, on every rank. Without
    DistributedDataParallel pass `for_ddp=False`: the embeddings then have the joined batch's gradient, to be added up.

    With `efficient` a rank's anchors are its own batch and its reference all embeddings, gradient included: less work
    on each, and the joined loss is the mean over ranks of equal batches, for losses that are means over anchors.

    What to expect: With one process, or none, it is the plain loss. Batches may differ in length. A miner that draws at
    random must draw the same on all ranks.

    Shapes: as the loss; a miner's tuples come from DistributedMinerWrapper with the same `efficient`.
    Raises: ValueError for `efficient` with a memory or with proxies.
    """

    def __init__(
        self,
        loss: nn.Module,
        efficient: Annotated[bool, EFFICIENT] = False,
        *,
        for_ddp: Annotated[bool, Knob("Make up for the averaging of DistributedDataParallel.")] = True,
    ) -> None:
        super().__init__()
        if efficient and (isinstance(loss, CrossBatchMemory) or hasattr(loss, "proxies")):
            raise ValueError(
                f"DistributedLossWrapper: efficient needs a loss that takes ref_emb; got {type(loss).__name__}. "
                "Leave efficient out."
            )
        self.loss = loss
        self.efficient = efficient
        self.for_ddp = for_ddp

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Reduced:
        """Return the loss of the joined batch, or of this rank's part of it."""
        queued = {} if enqueue_mask is None else {"enqueue_mask": gather_rows(enqueue_mask)}
        reference = () if ref_emb is None else (ref_emb, ref_labels)
        if world_size() == 1:
            return self.loss(embeddings, labels, indices_tuple, *reference, **queued)
        if self.efficient:
            return self.own_anchors(embeddings, labels, indices_tuple, *reference)
        factor = world_size() if self.for_ddp else 1
        everyone = [gather_with_gradient(rows, factor) for rows in (embeddings, *reference[:1])]
        their_labels = [gathered_if_given(kept) for kept in (labels, *reference[1:])]
        joined_reference = (everyone[1], their_labels[1]) if reference else ()
        return self.loss(everyone[0], their_labels[0], indices_tuple, *joined_reference, **queued)

    def own_anchors(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: tuple[Tensor, ...] | None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Reduced:
        alone = ref_emb is None
        everyone = GatherAll.apply(embeddings if alone else ref_emb, self.for_ddp)
        their_labels = gathered_if_given(labels if alone else ref_labels)
        if not self.for_ddp:
            embeddings = ScaleGradient.apply(embeddings, 1.0 / world_size())
        if alone and indices_tuple is None and labels is not None and their_labels is not None:
            indices_tuple = all_but_own(labels.to(their_labels.device), their_labels)
        return self.loss(embeddings, labels, indices_tuple, everyone, their_labels)


@WRAPPERS.add(
    "distributed_miner",
    title="Distributed miner",
    family="wrapper",
    formula=r"\text{mine}\big([x_1,\dots,x_W]\big)",
    aliases=("DistributedMinerWrapper (pytorch-metric-learning)",),
)
class DistributedMinerWrapper(nn.Module):
    """Mines in the joined batch of all processes, for a loss in a DistributedLossWrapper.

    What to expect: Positions are those in the joined batch, in the order of the ranks, the same on every rank. With
    `efficient`, anchors are positions in the rank's own batch.

    Shapes: as the miner. With one process, or none, it is the plain miner.
    Raises: ValueError for a reference without labels.
    """

    def __init__(self, miner: Miner, efficient: Annotated[bool, EFFICIENT] = False) -> None:
        super().__init__()
        self.miner = miner
        self.efficient = efficient

    @torch.no_grad()
    def forward(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor | None = None, ref_labels: Tensor | None = None
    ) -> tuple[Tensor, ...] | None:
        """Return the miner's tuples."""
        if ref_emb is not None and ref_labels is None:
            raise ValueError(
                "DistributedMinerWrapper: ref_labels must be given with ref_emb; got None. Pass one class per row."
            )
        reference = () if ref_emb is None or ref_labels is None else (ref_emb, ref_labels)
        if world_size() == 1:
            return self.miner(embeddings, labels, *reference)
        if not self.efficient:
            return self.miner(*(gather_rows(rows) for rows in (embeddings, labels, *reference)))
        if reference:
            return self.miner(embeddings, labels, *(gather_rows(rows) for rows in reference))
        own = own_places(len(labels), labels.device)
        return mine_others(self.miner, embeddings, labels, gather_rows(embeddings), gather_rows(labels), own)


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def lengths_of_all(count: int, device: torch.device) -> list[int]:
    lengths = [torch.zeros((), dtype=torch.long, device=device) for _ in range(world_size())]
    dist.all_gather(lengths, torch.tensor(count, device=device))
    return [int(length) for length in lengths]


def gather_list(rows: Tensor) -> list[Tensor]:
    """Everyone's rows, by rank, without gradient; batches may differ in length."""
    lengths = lengths_of_all(len(rows), rows.device)
    padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    received = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(received, padded)
    return [theirs[:length] for theirs, length in zip(received, lengths, strict=True)]


def gather_rows(rows: Tensor) -> Tensor:
    """Everyone's rows one after the other, without gradient."""
    if world_size() == 1:
        return rows
    if rows.dtype == torch.bool:
        return torch.cat(gather_list(rows.to(torch.uint8))).bool()
    return torch.cat(gather_list(rows))


def gathered_if_given(rows: Tensor | None) -> Tensor | None:
    return None if rows is None else gather_rows(rows)


def gather_with_gradient(rows: Tensor, factor: float) -> Tensor:
    """Everyone's rows; the gradient goes to this rank's own, times `factor`, and nothing is sent backward."""
    received = gather_list(rows)
    received[dist.get_rank()] = ScaleGradient.apply(rows, factor)
    return torch.cat(received)


def own_places(count: int, device: torch.device) -> Tensor:
    """Where this rank's rows stand in the joined batch."""
    before = sum(lengths_of_all(count, device)[: dist.get_rank()])
    return before + torch.arange(count, device=device)


def all_but_own(labels: Tensor, their_labels: Tensor) -> Pairs:
    """All pairs of this rank's rows with everyone's, but none of a row with itself."""
    return all_pairs(labels, their_labels, own_places(len(labels), labels.device))


class ScaledContext(SavedTensors, Protocol):
    factor: float


class ScaleGradient(torch.autograd.Function):
    """The same rows; their gradient times a factor."""

    @staticmethod
    def forward(ctx: ScaledContext, rows: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: ScaledContext, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.factor, None


class GatherContext(SavedTensors, Protocol):
    factor: float
    begin: int
    count: int


class GatherAll(torch.autograd.Function):
    """Everyone's rows; backward, each rank's rows get the sum of all ranks' gradients (the mean, if not `for_ddp`)."""

    @staticmethod
    def forward(ctx: GatherContext, rows: Tensor, for_ddp: bool) -> Tensor:
        received = gather_list(rows)
        ctx.begin = sum(len(theirs) for theirs in received[: dist.get_rank()])
        ctx.count, ctx.factor = len(rows), 1.0 if for_ddp else 1.0 / len(received)
        return torch.cat(received)

    @staticmethod
    @once_differentiable
    def backward(ctx: GatherContext, upstream: Tensor) -> tuple[Tensor, None]:
        total = upstream.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.begin : ctx.begin + ctx.count] * ctx.factor, None
