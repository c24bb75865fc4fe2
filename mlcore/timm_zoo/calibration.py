"""Measures this machine: the costs that estimates are made of, and single networks. It imports torch and timm."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import psutil
import torch
from scipy.optimize import nnls

from mlcore.timm_zoo.model_table import network_list
from mlcore.timm_zoo.speed import (
    BATCH,
    WAYS,
    MachineSpeed,
    count_operations,
    images_per_s,
    read_speed,
    speed_key,
    torch_version,
    write_speed,
)

REFERENCES = (  # network, side (px), batch: of every kind, so small that all take a few seconds
    ("resnet18", 32, 32),
    ("resnet18", 64, 32),
    ("mobilenetv3_small_100", 96, 32),
    ("efficientnet_b0", 32, 32),
    ("convnext_atto", 96, 32),
    ("vit_small_patch32_224", 224, 16),
)
USUAL = {  # in the order of COSTS: fitted to 31 networks at sizes from 32 to 224 px on one core of a server
    "forward": (0.0131, 0.0408, 0.0081, 0.409, 6.7e-05, 0.0003),
    "training": (0.0354, 0.439, 0.0157, 1.78, 0.00019, 0.0114),
}
HOLD = 0.1  # how firmly costs keep to the usual proportions, which so few networks cannot tell one by one
BUDGET_S = 0.2
LONGEST_STEP_S = 30.0
LEAST_BATCH = 2
KEPT_VALUES = 1.5  # of the values written in a forward pass, with their gradients, at the worst moment of a step


def calibrate(device: str, threads: int) -> MachineSpeed:
    """The costs on this machine, kept for later processes; networks that were measured stay if the rest is as before.

    Some seconds. Anything else that runs meanwhile makes all estimates too low.
    """
    listed = network_list()
    rows: list[np.ndarray] = []
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with few_threads(threads):
        for name, side, batch in REFERENCES:
            row = listed.loc[[name]]
            sides = pd.Series(side, index=row.index)
            rows.append(count_operations(row, sides, sides, batch)[0])
            taken = seconds_a_batch(name, side, side, batch, device)
            for way in WAYS:
                seconds[way].append(taken[way])
    costs = {way: fit_costs(np.stack(rows), np.array(seconds[way]), USUAL[way]) for way in WAYS}
    before = read_speed()
    same = before is not None and (before.device, before.threads) == (device, threads)
    found = MachineSpeed(device, threads, torch_version(), costs, before.measured if before and same else {})
    write_speed(found)
    return found


def fit_costs(rows: np.ndarray, seconds: np.ndarray, usual: tuple[float, ...]) -> list[float]:
    """Costs that explain the seconds (relative errors, least squares) while none is below zero and all are much the
    same multiple of the usual ones."""
    kinds = len(usual)
    explained = rows * np.array(usual) / seconds[:, None]
    alike = np.sqrt(HOLD) * (np.eye(kinds) - 1 / kinds)
    multiples, _ = nnls(np.vstack([explained, alike]), np.r_[np.ones(len(seconds)), np.zeros(kinds)])
    return (multiples * np.array(usual)).tolist()


def measure(name: str, device: str, threads: int, size: tuple[int, int] | None = None) -> dict[str, float]:
    """Images a second of one network, forward and in training steps, kept for later processes.

    With random weights, in batches of 32, or smaller ones where a step would not fit the memory or take half a minute.
    Raises: ValueError for a network that is not known, or too large for this machine.
    """
    listed = network_list()
    name = name.partition(".")[0]
    if name not in listed.index:
        raise ValueError(f"timm: there is no model '{name}'. Search: python -m mlcore backbones WORD")
    found = read_speed()
    if found is None or (found.device, found.threads) != (device, threads):
        found = calibrate(device, threads)
    row = listed.loc[[name]]
    own = (int(row.height.iloc[0]), int(row.width.iloc[0]))
    height, width = own if size is None or row.fixed.iloc[0] else size
    batch = fitting_batch(row, found, height, width)
    with few_threads(threads):
        try:
            taken = seconds_a_batch(name, height, width, batch, device)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ValueError(
                f"timm: '{name}' cannot be measured with images of {height} x {width} px ({str(error)[:200]}). "
                "Try a larger side."
            ) from error
    speeds = {way: batch / taken[way] for way in WAYS} | {"batch": batch}
    write_speed(
        replace(
            read_speed() or found, measured=(read_speed() or found).measured | {speed_key(name, height, width): speeds}
        )
    )
    return speeds | {"height": height, "width": width}


def fitting_batch(row: pd.DataFrame, found: MachineSpeed, height: int, width: int) -> int:
    """The largest batch up to 32 that fits the memory and a step of half a minute, as far as counts can tell."""
    if row.gmacs.isna().iloc[0]:
        return LEAST_BATCH
    images = images_per_s(row, replace(found, measured={}), "training", (height, width)).images_per_s.iloc[0]
    free = torch.cuda.mem_get_info()[0] if found.device == "cuda" else psutil.virtual_memory().available
    pixels = height * width / float(row.height.iloc[0] * row.width.iloc[0])
    weights, image = 16e6 * row.parameters_m.iloc[0], 4e6 * KEPT_VALUES * row.values_m.iloc[0] * pixels
    batch = BATCH
    while batch > LEAST_BATCH and (weights + batch * image > 0.8 * free or batch / images > LONGEST_STEP_S):
        batch //= 2
    if weights + batch * image > 0.8 * free:
        raise ValueError(
            f"timm: training '{row.index[0]}' needs about {(weights + batch * image) / 1e9:.0f} GB of memory, and "
            f"{free / 1e9:.0f} GB are free. Choose a smaller network, or a smaller side."
        )
    return batch


def seconds_a_batch(name: str, height: int, width: int, batch: int, device: str) -> dict[str, float]:
    """The shortest of a few batches, forward and as a training step with AdamW."""
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = timm.create_model(name, pretrained=False, num_classes=0).to(device)
    images = torch.rand(batch, 3, height, width, device=device)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-6)

    def forward() -> None:
        with torch.inference_mode():
            network(images)

    def training() -> None:
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()

    network.eval()
    taken = shortest_time(forward, device)
    network.train()
    return {"forward": taken, "training": shortest_time(training, device)}


def shortest_time(act: Callable[[], None], device: str) -> float:
    """Seconds, after one time that does not count."""

    def timed() -> float:
        start = time.perf_counter()
        act()
        if device != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter() - start

    timed()
    taken: list[float] = []
    while sum(taken) < BUDGET_S:
        taken.append(timed())
    return min(taken)


@contextlib.contextmanager
def few_threads(threads: int) -> Iterator[None]:
    """torch's threads and random state, left as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
