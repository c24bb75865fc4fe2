"""One rank of the distributed tests: every case over half of the joined batch. Arguments: folder, rank, ranks."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mlcore.losses import ArcFaceLoss, CrossBatchMemory, SmoothAPLoss, SupConLoss, TripletMarginLoss
from mlcore.losses.wrappers.distributed import DistributedLossWrapper, DistributedMinerWrapper
from mlcore.miners import BatchHardMiner, MultiSimilarityMiner
from mlcore.reducers import MeanReducer

CASES = {
    "supcon": (SupConLoss, None),
    "triplet": (lambda: TripletMarginLoss(margin=0.4, reducer=MeanReducer()), None),
    "triplet mined": (lambda: TripletMarginLoss(margin=0.4), BatchHardMiner),
    "smooth ap mined": (lambda: SmoothAPLoss(temperature=0.1), MultiSimilarityMiner),
    "arcface": (lambda: seeded(ArcFaceLoss, num_classes=4, embedding_size=3, scale=8.0), None),
    "memory": (lambda: CrossBatchMemory(SupConLoss(), 3, 40), None),
}
EFFICIENT = ("supcon", "smooth ap mined")  # one anchor, one item, none left out: the mean over ranks is that over all


def seeded(build, **sizes):
    torch.manual_seed(7)
    return build(**sizes)


def joined_batch(lengths):
    """Inputs (N, 4), labels, and who has which rows: `lengths` of each rank."""
    torch.manual_seed(3)
    total = sum(lengths)
    rows = torch.randn(total, 4, dtype=torch.float64)
    return rows, torch.arange(total) % 4, torch.arange(total).split(lengths)


def model():
    torch.manual_seed(5)
    return nn.Linear(4, 3).double()


def once(loss, miner, embeddings, labels):
    """Value and the gradients of embeddings and loss."""
    leaf = embeddings.detach().clone().requires_grad_()
    value = loss(leaf, labels, None if miner is None else miner(leaf.detach(), labels))
    value.backward()
    return {"value": value.detach(), "grad": leaf.grad, "of loss": [kept.grad for kept in loss.parameters()]}


def through(network, loss, miner, rows, labels):
    """The gradient of a model's weights, as the optimiser would get it."""
    embeddings = network(rows)
    loss(embeddings, labels, None if miner is None else miner(embeddings.detach(), labels)).backward()
    return [parameter.grad for parameter in network.parameters()]


def main(folder, rank, ranks):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks, timeout=timedelta(minutes=10)
    )
    torch.set_num_threads(1)
    found = {}
    for lengths in ([8, 8], [10, 6]):
        rows, labels, places = joined_batch(lengths)
        own = places[rank]
        embeddings = model()(rows[own])
        for name, (build, build_miner) in CASES.items():
            for efficient in (False, True) if name in EFFICIENT and lengths == [8, 8] else (False,):
                miner = None if build_miner is None else DistributedMinerWrapper(build_miner(), efficient)
                key = f"{name} {lengths} {efficient}"
                found[key] = once(
                    DistributedLossWrapper(build().double(), efficient, for_ddp=False), miner, embeddings, labels[own]
                )
                network = DistributedDataParallel(model())
                wrapped = DistributedLossWrapper(build().double(), efficient)
                found[key]["through ddp"] = through(network, wrapped, miner, rows[own], labels[own])
    views = DistributedLossWrapper(SupConLoss(), for_ddp=False)
    rows, labels, places = joined_batch([8, 8])
    value = views(rows[places[rank]], labels[places[rank]], None, 2 * rows[places[1 - rank]], labels[places[1 - rank]])
    found["reference"] = {"value": value}
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
