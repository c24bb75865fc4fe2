"""The features of a frozen backbone for every image of a table: from the disk, else computed and kept there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Generator
from importlib.metadata import PackageNotFoundError, version
from typing import IO

import numpy as np
import torch

from mlcore.data import ImageTable
from mlcore.data.feature_cache import (
    DamagedFeatures,
    FeatureRequest,
    FeatureWriter,
    cache_limit_bytes,
    lock_features,
    open_kept,
    remove_kept,
    rows_made,
)
from mlcore.disk.atomic import DiskFull
from mlcore.spec.sections import BackboneChoice
from mlcore.training.embedder import Embedder
from mlcore.training.events import Event, Progress, Warned
from mlcore.training.feature_source import row_chunks

NUMBERS = 1  # to be raised when the same backbone is to make other numbers of the same images
LOOK_S = 0.2
PATIENCE_S = 600.0
COMPUTING = "Computing the frozen backbone's features"
WAITING = "Waiting for another run that computes the same features"

Compute = Callable[[np.ndarray], np.ndarray]
Features = Generator[Event, None, np.ndarray | None]  # yields what there is to tell, returns (rows, columns) float32


def request_features(
    table: ImageTable, choice: BackboneChoice, model: Embedder, device: torch.device
) -> FeatureRequest:
    """Named by all that decides the numbers: the images, the weights as they are, how images are put in, the device."""
    form = dataclasses.asdict(model.backbone.input_format)
    facts = {
        "numbers": NUMBERS,
        "table": table.fingerprint,
        "backbone": choice.key,
        "params": choice.params,
        "pooling": choice.pooling,
        "weights": weights_digest(model),
        "input": {name: list(value) if isinstance(value, tuple) else value for name, value in form.items()},
        "device": device.type,
        "versions": {package: package_version(package) for package in ("torch", "timm")},
    }
    return FeatureRequest(facts, len(table), model.feature_size)


def weights_digest(model: Embedder) -> str:
    """sha256 of everything before the head: names, kinds, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not name.startswith("head."):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def kept_features(
    wanted: FeatureRequest, title: str, compute: Compute, stopped: Callable[[], bool], step: int = 0
) -> Features:
    """Yields what there is to tell, and returns (rows, columns) float32, mapped from the disk; None if stopped.

    Of two that want the same, one computes and the other waits. What was stopped or killed goes on where it was. Where
    they cannot be kept (no room, a disk that cannot be written) they are computed all the same, and held in memory.
    `title` is the data set's, for the list of what is kept; `compute(rows)` gives the features of some rows.
    """
    if wanted.bytes > cache_limit_bytes():
        if cache_limit_bytes():
            text = (
                f"they take {wanted.bytes / 2**20:.0f} MB, and LAB_FEATURES_MB allows {cache_limit_bytes() / 2**20:.0f}"
            )
            yield not_kept(step, text)
        return (yield from compute_in_memory(wanted, compute, stopped, step))
    try:
        found = open_kept(wanted)
    except DamagedFeatures as damage:
        found = None
        yield Warned(step, f"{damage} They are computed anew.")
    if found is not None:
        return found
    try:
        lock = yield from wait_for_lock(wanted, stopped, step)
    except OSError as error:
        yield not_kept(step, str(error))
        return (yield from compute_in_memory(wanted, compute, stopped, step))
    if lock is None:
        return None
    with lock:
        return (yield from compute_and_cache(wanted, title, compute, stopped, step))


def wait_for_lock(
    wanted: FeatureRequest, stopped: Callable[[], bool], step: int
) -> Generator[Event, None, IO[bytes] | None]:
    """Returns the lock of these features, or None if stopped while another had it.

    Raises: TimeoutError if whoever has it does not get on.
    """
    made, since = -1, time.monotonic()
    while (lock := lock_features(wanted)) is None:
        if stopped():
            return None
        if (rows := rows_made(wanted)) != made:
            made, since = rows, time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            raise TimeoutError("another run has begun them and does not get on")
        yield Progress(step, WAITING, made, wanted.rows)
        time.sleep(LOOK_S)
    return lock


def compute_and_cache(
    wanted: FeatureRequest, title: str, compute: Compute, stopped: Callable[[], bool], step: int
) -> Features:
    """Compute and keep them, holding their lock. Where there is no room, the rest is held in memory."""
    with contextlib.suppress(DamagedFeatures):
        if (found := open_kept(wanted)) is not None:
            return found
    try:
        remove_kept(wanted.digest)
        writer = FeatureWriter(wanted)
    except OSError as error:
        yield not_kept(step, str(error))
        return (yield from compute_in_memory(wanted, compute, stopped, step))
    with writer:
        try:
            for rows in row_chunks(wanted.rows, start=writer.rows):
                if stopped():
                    writer.checkpoint()
                    return None
                writer.add(compute(rows))
                yield Progress(step, COMPUTING, int(rows[-1]) + 1, wanted.rows)
            writer.finish({"title": title})
            return open_kept(wanted)
        except (DiskFull, DamagedFeatures) as error:
            before = writer.written() if isinstance(error, DiskFull) else None
            writer.discard()
            yield not_kept(step, str(error))
            return (yield from compute_in_memory(wanted, compute, stopped, step, before))


def compute_in_memory(
    wanted: FeatureRequest, compute: Compute, stopped: Callable[[], bool], step: int, before: np.ndarray | None = None
) -> Features:
    """Returns them computed and held in memory, after the rows `before` that are there; None if stopped."""
    features = np.empty((wanted.rows, wanted.columns), np.float32)
    done = 0 if before is None else len(before)
    if done:
        features[:done] = before
    for rows in row_chunks(wanted.rows, start=done):
        if stopped():
            return None
        features[rows] = compute(rows)
        yield Progress(step, COMPUTING, int(rows[-1]) + 1, wanted.rows)
    return features


def not_kept(step: int, reason: str) -> Warned:
    return Warned(step, f"The frozen backbone's features are not kept for other runs: {reason.rstrip('.')}.")


def package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
