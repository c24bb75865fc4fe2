"""Two processes, half of the batch each, against one process on the joined batch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import PATIENCE_S

from mlcore.losses import ArcFaceLoss, CrossBatchMemory, SupConLoss
from mlcore.losses.wrappers import distributed
from mlcore.losses.wrappers.distributed import DistributedLossWrapper, DistributedMinerWrapper
from mlcore.miners import BatchHardMiner

ROOT = Path(__file__).resolve().parents[4]
SCRIPT = Path(__file__).with_name("distributed_ranks.py")


def load_ranks():
    spec = importlib.util.spec_from_file_location("distributed_ranks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ranks = load_ranks()
KEYS = [f"{name} {lengths} False" for lengths in ([8, 8], [10, 6]) for name in ranks.CASES]
KEYS += [f"{name} [8, 8] True" for name in ranks.EFFICIENT]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    settings = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(rank), "2"],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def alone(key):
    """One process on the joined batch: its value, gradients, and the places of each rank's rows."""
    name, lengths = key.split(" [")[0], [8, 8] if "[8, 8]" in key else [10, 6]
    build, build_miner = ranks.CASES[name]
    miner = None if build_miner is None else build_miner()
    rows, labels, places = ranks.joined_batch(lengths)
    expected = ranks.once(build().double(), miner, ranks.model()(rows), labels)
    return expected, ranks.through(ranks.model(), build().double(), miner, rows, labels), places


@pytest.mark.parametrize("key", KEYS)
def test_value_is_that_of_the_joined_batch(two, key):
    expected, _, _ = alone(key)
    values = [found[key]["value"] for found in two]
    if key.endswith("True"):
        torch.testing.assert_close(sum(values) / 2, expected["value"])
        return
    for value in values:
        torch.testing.assert_close(value, expected["value"])


@pytest.mark.parametrize("key", KEYS)
def test_gradient_of_the_embeddings_is_that_of_the_joined_batch(two, key):
    expected, _, places = alone(key)
    for found, own in zip(two, places, strict=True):
        torch.testing.assert_close(found[key]["grad"], expected["grad"][own])


@pytest.mark.parametrize("key", KEYS)
def test_gradient_of_the_proxies_is_that_of_the_joined_batch_on_every_rank(two, key):
    expected, _, _ = alone(key)
    for found in two:
        torch.testing.assert_close(found[key]["of loss"], expected["of loss"])


@pytest.mark.parametrize("key", KEYS)
def test_a_model_in_ddp_gets_the_gradient_of_the_joined_batch(two, key):
    _, expected, _ = alone(key)
    for found in two:
        torch.testing.assert_close(found[key]["through ddp"], expected)


def test_references_are_joined_too(two):
    rows, labels, places = ranks.joined_batch([8, 8])
    swapped = torch.cat([places[1], places[0]])
    expected = SupConLoss()(rows, labels, None, 2 * rows[swapped], labels[swapped])
    for found in two:
        torch.testing.assert_close(found["reference"]["value"], expected)


def test_one_process_is_the_plain_loss_and_miner():
    rows, labels, _ = ranks.joined_batch([8, 8])
    mined = DistributedMinerWrapper(BatchHardMiner(), efficient=True)(rows, labels)
    torch.testing.assert_close(tuple(mined), tuple(BatchHardMiner()(rows, labels)))
    loss = DistributedLossWrapper(SupConLoss(), efficient=True)
    torch.testing.assert_close(loss(rows, labels, mined), SupConLoss()(rows, labels, mined))


@pytest.mark.parametrize("loss", [CrossBatchMemory(SupConLoss(), 3), ArcFaceLoss(4, 3)])
def test_efficient_needs_a_loss_that_takes_a_reference(loss):
    with pytest.raises(ValueError, match="efficient needs a loss that takes ref_emb"):
        DistributedLossWrapper(loss, efficient=True)


@pytest.fixture
def as_first_of_two(monkeypatch):
    """This process as rank 0 of two whose batches are alike."""
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "gather_list", lambda rows: [rows, rows])
    monkeypatch.setattr(distributed, "lengths_of_all", lambda count, device: [count, count])
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 0)


def test_without_labels_the_loss_itself_says_that_it_needs_them(as_first_of_two):
    rows, labels, _ = ranks.joined_batch([8, 8])
    for efficient in (False, True):
        with pytest.raises(ValueError, match="SupConLoss: labels must be given"):
            DistributedLossWrapper(SupConLoss(), efficient)(rows)
        with pytest.raises(ValueError, match="ref_labels must be given"):
            DistributedLossWrapper(SupConLoss(), efficient)(rows, labels, None, rows)


def test_a_miner_wants_the_labels_of_a_reference(as_first_of_two):
    rows, labels, _ = ranks.joined_batch([8, 8])
    for efficient in (False, True):
        with pytest.raises(ValueError, match="ref_labels must be given with ref_emb"):
            DistributedMinerWrapper(BatchHardMiner(), efficient)(rows, labels, rows)
