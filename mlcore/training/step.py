"""One optimizer step: batches, features, loss, gradient, weights."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mlcore.training.methods import Outcome
from mlcore.training.mixup import mix_images
from mlcore.training.optim import rate_factor, set_rates
from mlcore.training.prepare import Prepared

MIXING = 2**40  # far from any view's number


@dataclass(frozen=True, eq=False)
class StepResult:
    """What a step came to. Where several batches make a step, means over them, and the tuples of all.

    `labels` (B,) are those of the last batch; `grad_norm` is NaN where the loss is not finite.
    """

    loss: float
    grad_norm: float
    learning_rates: dict[str, float]
    tuples: int | None
    parts: dict[str, float]
    labels: np.ndarray


def train_step(prepared: Prepared, step: int) -> StepResult:
    """The step that follows the first `step` ones; a loss that is not finite changes nothing but is told."""
    spec, optimizer, plateau = prepared.spec, prepared.optimizer, prepared.plateau
    learning_rates = set_rates(optimizer, rate_factor(prepared.schedule, step, plateau))
    optimizer.zero_grad(set_to_none=True)
    batches = [add_gradient(prepared, step, number) for number in range(spec.optimizer.accumulate)]
    outcomes = [outcome for outcome, _ in batches]
    loss, grad_norm = mean_or_nan([outcome.loss.item() for outcome in outcomes]), math.nan
    if math.isfinite(loss):
        grad_norm = update_weights(prepared)
    if plateau is not None:
        plateau.see(loss)
    return StepResult(
        loss=loss,
        grad_norm=grad_norm,
        learning_rates=learning_rates,
        tuples=None if outcomes[0].tuples is None else sum(outcome.tuples or 0 for outcome in outcomes),
        parts=mean_parts(outcomes),
        labels=batches[-1][1],
    )


def add_gradient(prepared: Prepared, step: int, number: int) -> tuple[Outcome, np.ndarray]:
    """What the method makes of the step's batch of that number, and its labels (B,); its gradient is added up."""
    spec, device = prepared.spec, prepared.device
    places = prepared.batches.rows(step, number)
    with torch.autocast(device.type, prepared.autocast_dtype) if prepared.autocast_dtype else nullcontext():
        if prepared.subset_miner is not None:
            places = select_subset(prepared, prepared.subset_miner, places)
        labels = prepared.train_labels[places]
        targets = torch.from_numpy(labels).to(device)
        if spec.mix.kind == "none":
            features = read_views(prepared, places, step, number)
        else:
            features, targets = read_mixed(prepared, places, targets, step, number)
        if prepared.distillation is None:
            outcome = prepared.method(prepared.model.head, features, targets, places)
        else:
            outcome = prepared.distillation.outcome(prepared.method, prepared.model.head, features, targets, places)
    if math.isfinite(outcome.loss.item()):
        loss = outcome.loss / spec.optimizer.accumulate
        (loss if prepared.scaler is None else prepared.scaler.scaler.scale(loss)).backward()
    return outcome, labels


def select_subset(prepared: Prepared, miner: nn.Module, places: np.ndarray) -> np.ndarray:
    """Those of a batch that the subset miner picks, by a look at all of it that leaves no trace in the model."""
    labels = torch.from_numpy(prepared.train_labels[places]).to(prepared.device)
    chosen = miner(prepared.features.embed(places), labels)
    return places[chosen.cpu().numpy()]


def read_views(prepared: Prepared, places: np.ndarray, step: int, number: int) -> tuple[Tensor, ...]:
    """The features (B, F) of a batch, in as many renderings of its images as the method wants."""
    views = 1 if prepared.distill_only else prepared.method.views
    return tuple(
        prepared.features.read(places, augmentation_rng(prepared, step, number, view)) for view in range(views)
    )


def read_mixed(
    prepared: Prepared, places: np.ndarray, labels: Tensor, step: int, number: int
) -> tuple[tuple[Tensor], Tensor]:
    """The features (B, F) of a batch of mixed images, and the shares (B, classes) of their classes."""
    shares = labels

    def mix(images: Tensor) -> Tensor:
        nonlocal shares
        generator = batch_rng(prepared, step, number, MIXING)
        images, shares = mix_images(images, labels, len(prepared.classes), prepared.spec.mix, generator)
        return images

    features = prepared.features.read(places, augmentation_rng(prepared, step, number, 0), mix)
    return (features,), shares


def update_weights(prepared: Prepared) -> float:
    """Move the weights along their gradients; returns the norm of the gradient."""
    optimizer, scaler = prepared.optimizer, prepared.scaler
    if scaler is None:
        norm = clip_gradients(prepared)
        optimizer.step()
    else:
        scaler.scaler.unscale_(optimizer)
        norm = clip_gradients(prepared)
        scaler.scaler.step(optimizer)
        scaler.scaler.update()
    if prepared.average is not None:
        prepared.average.update_parameters(prepared.model)
    return norm


def clip_gradients(prepared: Prepared) -> float:
    """The norm of all gradients together, before they are clipped (if they are)."""
    parameters = [p for group in prepared.optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not parameters:
        return 0.0
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    if prepared.spec.optimizer.clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, prepared.spec.optimizer.clip_norm, norm)
    return norm.item()


def augmentation_rng(prepared: Prepared, step: int, number: int, view: int) -> torch.Generator | None:
    """The random source of a batch's augmentation for a view, or None for none."""
    return None if prepared.spec.augment.key == "none" else batch_rng(prepared, step, number, view)


def batch_rng(prepared: Prepared, step: int, number: int, purpose: int) -> torch.Generator:
    """A generator for a batch: it depends on the seed, the count of batches before it, and what it is for."""
    batch = prepared.spec.seed * 1_000_003 + prepared.batches.number(step, number)
    return torch.Generator().manual_seed(batch * prepared.method.views + purpose)


def mean_or_nan(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def mean_parts(outcomes: list[Outcome]) -> dict[str, float]:
    """The finite shares of the loss by name, their mean over the batches of a step."""
    named: dict[str, list[float]] = {}
    for outcome in outcomes:
        for name, share in outcome.parts.items():
            if math.isfinite(share):
                named.setdefault(name, []).append(share)
    return {name: mean_or_nan(shares) for name, shares in named.items()}
