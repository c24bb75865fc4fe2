"""Forward and backward of each loss, and each miner, beside pytorch-metric-learning.

    python benchmarks/losses.py [--json FILE] [--rounds 15] [--threads 1] [--cpu-time]

Batches of 128 and 512 embeddings of size 128, four samples per class, plus one batch of 512 in 10 classes, where
there are 12 million triplets. Times are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import miners as pml_miners
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlcore.losses import LOSSES
from mlcore.miners import MINERS

EMBEDDING_SIZE = 128
CASES = ((128, 32), (512, 128), (512, 10))  # (batch, classes)
THEIR_MINERS = {
    "batch_hard": pml_miners.BatchHardMiner,
    "multi_similarity": pml_miners.MultiSimilarityMiner,
    "triplet_margin": pml_miners.TripletMarginMiner,
}


def milliseconds(
    rounds: int, *contestants: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The median time of each contestant. They take turns, so that a busy machine slows all of them alike."""
    for once in contestants:
        once()
        once()
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for once, taken in zip(contestants, times, strict=True):
            start = clock()
            once()
            taken.append(clock() - start)
    return [1000.0 * statistics.median(taken) for taken in times]


def batch_of(batch_size: int, classes: int) -> tuple[Tensor, Tensor]:
    """Embeddings around their class's centre, so that some triplets are solved and some are not."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(batch_size) % classes
    centres = torch.randn(classes, EMBEDDING_SIZE, generator=generator)
    noise = torch.randn(batch_size, EMBEDDING_SIZE, generator=generator)
    return (centres[labels] + 1.5 * noise), labels


def step(loss: torch.nn.Module, embeddings: Tensor, labels: Tensor) -> Callable[[], float]:
    def once() -> float:
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels)
        value.backward()
        return value.item()

    return once


def matmul_floor(embeddings: Tensor, classes: int) -> Callable[[], None]:
    """What no proxy loss can beat: normalise, one matrix product, and its two backward products."""
    proxies = torch.randn(classes, EMBEDDING_SIZE, requires_grad=True)

    def once() -> None:
        leaf = embeddings.clone().requires_grad_()
        cosines = torch.nn.functional.normalize(leaf) @ torch.nn.functional.normalize(proxies).T
        cosines.sum().backward()

    return once


def measure(rounds: int, clock: Callable[[], float]) -> Iterator[dict[str, object]]:
    for batch_size, classes in CASES:
        embeddings, labels = batch_of(batch_size, classes)
        sizes = {"num_classes": classes, "embedding_size": EMBEDDING_SIZE}
        contests = {"matmul floor": [matmul_floor(embeddings, classes)]}
        for key, spec in LOSSES.items():
            theirs = getattr(pml_losses, spec.target.partition(":")[2])
            pair = (spec.build(sizes), theirs(**sizes) if spec.sizes else theirs())
            contests[f"loss {key}"] = [step(loss, embeddings, labels) for loss in pair]
        for key, theirs in THEIR_MINERS.items():
            pair = (MINERS[key].build(), theirs())
            contests[f"miner {key}"] = [functools.partial(miner, embeddings, labels) for miner in pair]
        for part, contestants in contests.items():
            taken = milliseconds(rounds, *contestants, clock=clock)
            row = {"batch": batch_size, "classes": classes, "part": part, "ours_ms": taken[0]}
            yield row | {"theirs_ms": taken[1] if len(taken) > 1 else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--rounds", type=int, default=15, help="repeats of each measurement (default 15)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, not the wall's: for a busy machine")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, embeddings of size {EMBEDDING_SIZE}")
    print(f"{'batch':>5} {'classes':>7}  {'part':<26} {'ours ms':>9} {'PML ms':>10} {'times':>7}")
    rows = []
    for row in measure(arguments.rounds, clock):
        rows.append(row)
        line = f"{row['batch']:>5} {row['classes']:>7}  {row['part']:<26} {row['ours_ms']:>9.2f}"
        theirs = row["theirs_ms"]
        print(line if theirs is None else f"{line} {theirs:>10.2f} {theirs / row['ours_ms']:>6.1f}x", flush=True)
    if arguments.json:
        record = {"torch": torch.__version__, "clock": clock.__name__, "threads": torch.get_num_threads(), "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
