"""What losses, miners and retrieval figures cost, beside pytorch-metric-learning (PML) and the limits they should keep.

    python benchmarks/losses.py [--only NAME ...] [--quick] [--json FILE] [--cpu-time] [--theirs-too-slow]

Embeddings of size 128, four samples of each class unless a case says otherwise, forward and backward. Times are
medians; contestants take turns. Where PML lacks a loss that metric-learning-layers (MLL) has, that one stands beside
ours. Memory is the peak of a process of its own above what it held before the part was built. PML's slowest cases take
minutes and most of 24 GB: without --theirs-too-slow they are quoted from where they were measured, or left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import _peers as peers
import numpy as np
import torch
import torch.nn.functional as F
from _measure import Once, alone, free_gigabytes, limit_memory, milliseconds
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from mlcore.evaluation import evaluate_retrieval
from mlcore.losses import LOSSES, ArcFaceLoss
from mlcore.miners import MINERS, SUBSET_MINERS

LARGE = 100_000  # classes
TOO_MUCH = 12.0  # gigabytes at which a process is stopped
SPARE = 2.0  # gigabytes left to others while PML takes all it wants
MEMORIES = tuple(peers.MEMORY + key for key in ("contrastive", "triplet_margin"))
HEAVY_AT_512 = ("ntxent", "lifted_structure", "tuplet_margin")  # PML compares each positive pair with each negative one


@dataclass(frozen=True)
class Case:
    """A row to be: `build("our", *arguments)` gives what is called, `build("their", *arguments)` its peer, and limits.

    `apart`: ours is called in a process of its own only. `heavy`: the peer takes minutes, or most of the memory;
    `quoted` are its milliseconds from elsewhere.
    """

    name: str
    build: Callable[..., Once]
    arguments: tuple[object, ...]
    peer: str | None = peers.PML
    floor: Callable[..., Once] | None = None
    apart: bool = False
    heavy: bool = False
    quoted: float | None = None
    most_ms: float | None = None
    most_ratio: float | None = None
    most_of_floor: float | None = None
    most_gb: float | None = None


@dataclass
class Row:
    """What was measured, and what it should be at most; None where nothing was, or there is no limit."""

    case: str
    peer: str | None
    ours_ms: float | None = None
    theirs_ms: float | None = None
    floor_ms: float | None = None
    ratio: float | None = None
    of_floor: float | None = None
    gb: float | None = None
    theirs_gb: float | None = None
    note: str = ""
    at_most: str = ""
    met: bool | None = None


def softmax_floor(batch_size: int, classes: int) -> Once:
    """What no softmax over proxies can beat: normalise, one matrix product, cross-entropy, and the way back."""
    torch.manual_seed(0)
    proxies = torch.randn(classes, peers.EMBEDDING_SIZE, requires_grad=True)
    embeddings, labels = peers.batch_of(batch_size, classes)

    def once() -> None:
        proxies.grad = None
        leaf = embeddings.clone().requires_grad_()
        F.cross_entropy(F.normalize(leaf) @ F.normalize(proxies).T, labels).backward()

    return once


def sampled_training(whose: str, batch_size: int, classes: int) -> Once:
    """A training step of ArcFace on one class in a hundred, with AdamW, which keeps two more copies of all proxies."""
    loss = ArcFaceLoss(classes, peers.EMBEDDING_SIZE, sample_rate=0.01)
    optimizer = torch.optim.AdamW(loss.parameters(), fused=True)
    embeddings, _ = peers.batch_of(batch_size, batch_size)
    generator = torch.Generator().manual_seed(0)

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        labels = torch.randint(classes, (batch_size,), generator=generator)
        loss(embeddings, labels).backward()
        optimizer.step()

    return once


def retrieval(whose: str, count: int, classes: int) -> Once:
    """Precision at 1, R-precision and MAP@R of a set among itself."""
    embeddings, labels = peers.batch_of(count, classes)
    embeddings = F.normalize(embeddings)
    if whose == "our":
        arrays = np.asarray(embeddings), np.asarray(labels)
        return lambda: evaluate_retrieval(*arrays, ks=(1,))
    wanted = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=wanted, k="max_bin_count", device=torch.device("cpu"))
    return lambda: calculator.get_accuracy(embeddings, labels)


NAMED = (
    Case(
        "NT-Xent, batch 512, 64 classes",
        peers.loss_step,
        ("ntxent", 512, 64),
        heavy=True,
        quoted=38_000,
        most_ms=40,
        most_gb=0.3,
    ),
    Case(
        "lifted structure, batch 512, 64 classes",
        peers.loss_step,
        ("lifted_structure", 512, 64),
        heavy=True,
        quoted=71_000,
        most_ms=200,
        most_gb=0.5,
    ),
    Case("tuplet margin, batch 128, 16 classes", peers.loss_step, ("tuplet_margin", 128, 16), most_ms=10),
    Case(
        "triplet margin, all triplets, batch 512, 64 classes", peers.loss_step, ("triplet_margin", 512, 64), most_ms=40
    ),
    Case("SNR contrastive, batch 512, 64 classes", peers.loss_step, ("snr_contrastive", 512, 64), most_ms=40),
    Case("margin loss, batch 512, 64 classes", peers.loss_step, ("margin", 512, 64), most_ms=40),
    Case(
        "multi-similarity miner + triplet, batch 512, 64 classes",
        peers.mined_step,
        ("multi_similarity", "triplet_margin", 512, 64),
        most_ms=60,
    ),
    Case("angular miner, batch 512, 64 classes", peers.miner_call, ("angular", 512, 64), most_ms=300),
    Case(
        "distance-weighted miner + margin, batch 512, 64 classes",
        peers.mined_step,
        ("distance_weighted", "margin", 512, 64),
        most_ms=30,
    ),
    Case("SoftTriple, 10,000 classes, batch 256", peers.loss_step, ("soft_triple", 256, 10_000), most_ratio=0.35),
    Case(
        "ArcFace, 100,000 classes, batch 256",
        peers.loss_step,
        ("arcface", 256, LARGE),
        floor=softmax_floor,
        most_of_floor=1.25,
    ),
    Case(
        "CosFace, 100,000 classes, batch 256",
        peers.loss_step,
        ("cosface", 256, LARGE),
        floor=softmax_floor,
        most_of_floor=1.25,
    ),
    Case(
        "ArcFace, 1,000,000 classes, sample_rate 0.01, AdamW",
        sampled_training,
        (256, 1_000_000),
        peer=None,
        apart=True,
        most_gb=6.0,
    ),
    Case("P@1, R-precision, MAP@R of 60,000, 5,000 classes", retrieval, (60_000, 5_000), most_ratio=0.5),
)


def parts() -> Iterator[tuple[str, Callable[..., Once], str, str | None]]:
    """Every declared loss and miner: what it is, its builder, its key, and which library has it too."""
    for key in (*LOSSES, *MEMORIES):
        yield "loss", peers.loss_step, key, peers.loss_peer(key)
    for key in (*MINERS, *SUBSET_MINERS):
        yield "miner", peers.miner_call, key, peers.miner_peer(key)


def other_cases() -> Iterator[Case]:
    """Every loss and miner at two sizes."""
    for batch_size in (128, 512):
        for kind, build, key, peer in parts():
            heavy = batch_size == 512 and kind == "loss" and key in HEAVY_AT_512
            most = 1.0 if peer == peers.PML else None
            name = f"{kind} {key}, batch {batch_size}"
            yield Case(name, build, (key, batch_size, batch_size // 4), peer, heavy=heavy, most_ratio=most)


def memory_cases() -> Iterator[Case]:
    """Every loss and miner in a large batch, each in a process of its own."""
    for kind, build, key, _ in parts():
        yield Case(f"memory of {kind} {key}, batch 2,048", build, (key, 2048, 512), None, apart=True, most_gb=4.0)


def measured(case: Case, rounds: int, clock: Callable[[], float], theirs_too_slow: bool) -> Row:
    row = Row(case.name, case.peer)
    if case.apart or case.most_gb is not None:
        result = alone(case.build, "our", *case.arguments, limit=TOO_MUCH)
        row.ours_ms, row.gb, row.note = result
    if not case.apart:
        contestants = {"ours_ms": case.build("our", *case.arguments)}
        if case.peer and not case.heavy:
            contestants["theirs_ms"] = case.build("their", *case.arguments)
        if case.floor:
            contestants["floor_ms"] = case.floor(*case.arguments[1:])
        try:
            times = milliseconds(rounds, *contestants.values(), clock=clock)
        except RuntimeError as error:
            if contestants.pop("theirs_ms", None) is None:
                raise
            row.note = f"{case.peer} fails: {str(error)[:40]} ..."
            times = milliseconds(rounds, *contestants.values(), clock=clock)
        for name, taken in zip(contestants, times, strict=True):
            setattr(row, name, taken)
    if case.heavy and theirs_too_slow:
        result = alone(case.build, "their", *case.arguments, calls=1, limit=free_gigabytes() - SPARE)
        row.theirs_ms, row.theirs_gb, row.note = result
    elif case.heavy:
        row.theirs_ms, row.note = case.quoted, "quoted" if case.quoted else "PML left out: 8 GB or more"
    if row.ours_ms and row.theirs_ms:
        row.ratio = row.ours_ms / row.theirs_ms
    if row.ours_ms and row.floor_ms:
        row.of_floor = row.ours_ms / row.floor_ms
    limits = (
        (row.ours_ms, case.most_ms, "ms"),
        (row.gb, case.most_gb, "GB"),
        (row.ratio, case.most_ratio, "x"),
        (row.of_floor, case.most_of_floor, "x floor"),
    )
    return judged(row, limits)


def judged(row: Row, limits: tuple[tuple[float | None, float | None, str], ...]) -> Row:
    """The row with its limits in words, and whether all that could be measured keep them; a crash keeps none."""
    asked = [(value, most, unit) for value, most, unit in limits if most is not None]
    row.at_most = ", ".join(f"{most:g}{unit if unit.startswith('x') else ' ' + unit}" for _, most, unit in asked)
    known = [(value, most) for value, most, _ in asked if value is not None]
    if known or (asked and row.gb is None and row.ours_ms is None):
        row.met = bool(known) and all(value <= most for value, most in known)
    return row


def geometric_mean(rows: list[Row]) -> Row:
    ratios = [row.ratio for row in rows if row.ratio is not None and row.peer == peers.PML]
    row = Row(f"geometric mean of {len(ratios)} ratios to PML", None, ratio=statistics.geometric_mean(ratios))
    return judged(row, ((row.ratio, 0.5, "x"),))


def line_of(row: Row) -> str:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    theirs = number(row.theirs_ms, ",.2f") + (" quoted" if row.note == "quoted" else "")
    remarks = [
        {True: "", False: "NOT MET", None: ""}[row.met],
        "" if row.of_floor is None else f"{row.of_floor:.2f}x floor of {row.floor_ms:.0f} ms",
        "" if row.theirs_gb is None else f"theirs {row.theirs_gb:.1f} GB",
        row.peer if row.peer == peers.MLL else "",
        "" if row.note == "quoted" else row.note,
    ]
    return (
        f"{row.case:<56} {number(row.ours_ms, ',.2f'):>9} {theirs:>16} {number(row.ratio, '.3f'):>7} "
        f"{number(row.gb, '.2f'):>5}  {row.at_most:<14} {'; '.join(filter(None, remarks))}"
    ).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="cases with one of these in their name")
    parser.add_argument("--quick", action="store_true", help="three rounds of each, for a first look")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, not the wall's: for a busy machine")
    parser.add_argument("--theirs-too-slow", action="store_true", help="run PML's slowest cases: minutes, 24 GB")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_metric_learning")
    limit_memory(min(TOO_MUCH, max(free_gigabytes() - SPARE, 4.0)))
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {clock.__name__}")
    print(f"{'case':<56} {'ours ms':>9} {'theirs ms':>16} {'ratio':>7} {'GB':>5}  {'at most':<14}")
    rows: list[Row] = []

    def run(cases: Iterator[Case] | tuple[Case, ...]) -> list[Row]:
        found = []
        for case in cases:
            if any(word.lower() in case.name.lower() for word in arguments.only):
                rounds = 3 if arguments.quick else 15
                found.append(measured(case, rounds, clock, arguments.theirs_too_slow))
                print(line_of(found[-1]), flush=True)
        return found

    rows += run(NAMED)
    others = run(other_cases())
    rows += others
    if arguments.only == [""]:
        rows.append(geometric_mean(others))
        print(line_of(rows[-1]))
    memories = run(memory_cases())
    rows += memories
    worst = sorted(memories, key=lambda row: row.gb or 0.0, reverse=True)[:3]
    print(f"most memory: {'; '.join(f'{row.case} {row.gb or 0.0:.2f} GB' for row in worst) or '-'}")
    unmet = [row.case for row in rows if row.met is False]
    print(
        f"{sum(row.met is True for row in rows)} rows keep their limits, {len(unmet)} do not: {'; '.join(unmet) or '-'}"
    )
    if arguments.json:
        record = {"torch": torch.__version__, "clock": clock.__name__, "threads": torch.get_num_threads()}
        arguments.json.write_text(json.dumps(record | {"rows": [asdict(row) for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
