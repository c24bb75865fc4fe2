"""Cross-batch memory: a loss that compares the batch with the embeddings of many batches before it."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlcore.declare import Knob
from mlcore.losses.inputs import check_embeddings, needed_labels, require_finite
from mlcore.losses.wrappers.registry import WRAPPERS
from mlcore.miners.own_copies import mine_others
from mlcore.reducers import Reduced
from mlcore.traits import WrapperTrait
from mlcore.tuples import Miner, Pairs, Triplets, all_pairs, as_tuples, to_pairs, to_triplets


@WRAPPERS.add(
    "cross_batch_memory",
    title="Cross-batch memory (XBM)",
    family="wrapper",
    formula=r"L\big(\text{batch},\ \text{last } M \text{ embeddings}\big)",
    paper="Wang et al., CVPR 2020, arXiv:1912.06798, algorithm 1",
    aliases=("CrossBatchMemory (pytorch-metric-learning)", "XBM", "memory queue"),
    traits=(WrapperTrait.IN_A_RUN,),
)
class CrossBatchMemory(nn.Module):
    """Keeps the last embeddings with their labels, and gives them to a pair or triplet loss as its reference.

    The batch goes into the memory first, then every sample is compared with all of the memory except its own copy.
    Memories carry no gradient. With `enqueue_mask` (as in MoCo) the marked rows only fill the memory, and the others
    are compared with it. A miner sees the batch and the memory; a tuple from outside holds positions in the batch,
    which are looked up in the memory (pytorch-metric-learning takes them for positions in the memory) and added.

    What to expect: Far more negatives at little cost, once the model changes slowly: old memories are out of date. Let
    it warm up: for the first steps the memory is only filled. Without a miner every pair with the memory is written
    down, and triplets only where the loss's reducer asks for each of them.

    Shapes: embeddings (B, embedding_size) float, labels (B,) whole numbers, B at most memory_size; enqueue_mask (B,)
    bool. The memory is saved with the loss, and only changes in training.
    Raises: ValueError for a loss with proxies, a batch larger than the memory, or both an indices_tuple
    and an enqueue_mask.
    """

    embedding_memory: Tensor
    label_memory: Tensor
    enqueued: Tensor
    batches: Tensor

    def __init__(
        self,
        loss: nn.Module,
        embedding_size: int,
        memory_size: Annotated[int, Knob("How many embeddings are kept.", 1, 10_000_000, log=True)] = 1024,
        miner: Miner | None = None,
        *,
        warm_up: Annotated[int, Knob("Steps before the memory is used; it is filled meanwhile.", 0, 1_000_000)] = 0,
    ) -> None:
        super().__init__()
        if hasattr(loss, "proxies"):
            raise ValueError(
                f"CrossBatchMemory: loss must compare embeddings with each other; got {type(loss).__name__}, which "
                "compares them with its proxies. Use it without a memory."
            )
        self.loss = loss
        self.miner = miner
        self.embedding_size = embedding_size
        self.memory_size = memory_size
        self.warm_up = warm_up
        self.register_buffer("embedding_memory", torch.zeros(memory_size, embedding_size))
        self.register_buffer("label_memory", torch.zeros(memory_size, dtype=torch.long))
        self.register_buffer("enqueued", torch.tensor(0))  # embeddings ever put in
        self.register_buffer("batches", torch.tensor(0))

    @property
    def queue_idx(self) -> int:
        """Where the next embedding goes."""
        return int(self.enqueued) % self.memory_size

    @property
    def has_been_filled(self) -> bool:
        return int(self.enqueued) >= self.memory_size

    def reset_queue(self) -> None:
        """Forget everything, and warm up again."""
        for buffer in self.buffers(recurse=False):
            buffer.zero_()

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        enqueue_mask: Tensor | None = None,
    ) -> Reduced:
        """Return what the loss returns for the batch against the memory."""
        batch, labels = self.check_batch(embeddings, labels, indices_tuple, enqueue_mask)
        new, new_labels = (batch, labels) if enqueue_mask is None else (batch[enqueue_mask], labels[enqueue_mask])
        if enqueue_mask is not None:
            batch, labels = batch[~enqueue_mask], labels[~enqueue_mask]
        warming_up = int(self.batches) < self.warm_up
        memory, label_memory, places = self.enqueue(new.detach(), new_labels)
        if len(batch) == 0:
            return (embeddings * 0.0).sum()
        if warming_up:
            return self.against_the_batch(batch, labels, indices_tuple, enqueue_mask, new.detach(), new_labels)
        memory = memory.to(batch.dtype)
        if enqueue_mask is not None:
            mined = None if self.miner is None else self.miner(batch.detach(), labels, memory, label_memory)
            return self.loss(batch, labels, mined, memory, label_memory)
        tuples = self.tuples_without_own(batch, labels, memory, label_memory, places)
        if indices_tuple is not None:
            tuples = join_tuples(tuples, in_memory(as_tuples(indices_tuple), places))
        return self.loss(batch, labels, tuples, memory, label_memory)

    def check_batch(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: tuple[Tensor, ...] | None, enqueue_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        who = "CrossBatchMemory"
        batch = check_embeddings(who, "embeddings", embeddings)
        labels = needed_labels(who, "labels", labels, batch)
        if batch.shape[1] != self.embedding_size:
            raise ValueError(
                f"{who}: embeddings must be (batch, {self.embedding_size}) as embedding_size says; "
                f"got {tuple(batch.shape)}. Build it with embedding_size={batch.shape[1]}."
            )
        if enqueue_mask is not None and indices_tuple is not None:
            raise ValueError(f"{who}: takes an indices_tuple or an enqueue_mask, not both. Leave one out.")
        if enqueue_mask is not None and (enqueue_mask.shape != labels.shape or enqueue_mask.dtype != torch.bool):
            raise ValueError(
                f"{who}: enqueue_mask must be one truth per row, bool of shape ({len(batch)},); "
                f"got {enqueue_mask.dtype} of shape {tuple(enqueue_mask.shape)}."
            )
        count = len(batch) if enqueue_mask is None else int(enqueue_mask.sum())
        if count > self.memory_size:
            raise ValueError(
                f"{who}: a batch must fit into the memory of {self.memory_size}; got {count} embeddings. "
                "Build it with a larger memory_size."
            )
        require_finite(who, batch)
        return batch, labels

    def enqueue(self, new: Tensor, new_labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The filled part of the memory with `new` in it, its labels, and where each of `new` stands.

        Not written in place: an earlier step's graph may still need the memory as it was.
        """
        before = int(self.enqueued)
        places = (before + torch.arange(len(new), device=new.device)) % self.memory_size
        memory = self.embedding_memory.index_copy(0, places, new.to(self.embedding_memory.dtype))
        label_memory = self.label_memory.index_copy(0, places, new_labels)
        if self.training:
            self.embedding_memory, self.label_memory = memory, label_memory
            self.enqueued = self.enqueued + len(new)
            self.batches = self.batches + 1
        filled = min(before + len(new), self.memory_size)
        return memory[:filled], label_memory[:filled], places

    def against_the_batch(
        self,
        batch: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None,
        enqueue_mask: Tensor | None,
        new: Tensor,
        new_labels: Tensor,
    ) -> Reduced:
        """The loss while warming up: as if there were no memory, or only what was just put in."""
        if enqueue_mask is None:
            mined = None if self.miner is None else self.miner(batch.detach(), labels)
            if mined is not None and indices_tuple is not None:
                mined = join_tuples(as_tuples(mined), as_tuples(indices_tuple))
            return self.loss(batch, labels, indices_tuple if mined is None else mined)
        if len(new) == 0:
            return (batch * 0.0).sum()
        mined = None if self.miner is None else self.miner(batch.detach(), labels, new, new_labels)
        return self.loss(batch, labels, mined, new, new_labels)

    def tuples_without_own(
        self, batch: Tensor, labels: Tensor, memory: Tensor, label_memory: Tensor, own: Tensor
    ) -> Pairs | Triplets:
        """What the miner finds, or all pairs; a sample's own copy in the memory is none of the others it may find."""
        mined = None
        if self.miner is not None:
            mined = mine_others(self.miner, batch.detach(), labels, memory, label_memory, own)
        return all_pairs(labels, label_memory, own) if mined is None else mined


def in_memory(tuples: Pairs | Triplets, places: Tensor) -> Pairs | Triplets:
    """Tuples of batch positions, their positives and negatives as places in the memory."""
    return tuples._replace(positives=places[tuples.positives], negatives=places[tuples.negatives])


def join_tuples(tuples: Pairs | Triplets, others: Pairs | Triplets) -> Pairs | Triplets:
    """Both, in the kind of the first."""
    others = to_triplets(others) if isinstance(tuples, Triplets) else to_pairs(others)
    return type(tuples)(*(torch.cat(sides) for sides in zip(tuples, others, strict=True)))
