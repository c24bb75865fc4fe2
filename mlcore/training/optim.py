"""The optimizer: backbone, head and proxies each with their own learning rate, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mlcore.spec.learning_rates import base_rates
from mlcore.spec.schedules import PlateauSchedule, Schedule
from mlcore.spec.sections import HeadChoice, OptimizerChoice
from mlcore.training.embedder import Embedder
from mlcore.training.methods import TrainingMethod
from mlcore.training.optimizers import OPTIMIZERS


def build_optimizer(
    choice: OptimizerChoice,
    model: Embedder,
    method: TrainingMethod,
    others: Iterable[nn.Parameter] = (),
    *,
    rates: dict[str, float] | None = None,
    idle: bool = False,
) -> torch.optim.Optimizer:
    """One optimizer over all that trains. Weight decay is for matrices, never for biases, norms or proxies.

    `rates` by group, as `base_rates` has them, by default those of `choice`: what the losses learn are "proxies", what
    else the method learns (a classifier ...) and `others` "method". An `idle` one, of a run of no steps, may have
    nothing to train.

    Raises: ValueError if there is nothing to train.
    """
    rates = rates or base_rates(choice, HeadChoice(), None, 0)
    of_losses = unique_parameters(parameter for loss in method.losses() for parameter in loss.parameters())
    of_method = [parameter for parameter in method.parameters() if all(parameter is not other for other in of_losses)]
    members = {
        "backbone": model.feature_parameters(),
        "head": [*model.head.parameters()],
        "method": [*of_method, *others],
        "proxies": of_losses,
    }
    if choice.lr_scaling == "none":  # one group, in the order that checkpoints of all older runs have
        members["head"] += members.pop("method")
    groups = []
    for name, parameters in members.items():
        training = [parameter for parameter in parameters if parameter.requires_grad]
        matrices = [parameter for parameter in training if parameter.ndim > 1 and name != "proxies"]
        undecayed = [parameter for parameter in training if parameter.ndim <= 1 or name == "proxies"]
        for part, decay in ((matrices, choice.weight_decay), (undecayed, 0.0)):
            if part:
                groups.append(
                    {"params": part, "lr": rates[name], "base_lr": rates[name], "weight_decay": decay, "name": name}
                )
    if not groups and idle:
        return torch.optim.SGD([torch.zeros(0)], lr=0.0)
    if not groups:
        raise ValueError("nothing would be trained: no part of backbone, head and loss has trainable weights.")
    return OPTIMIZERS[choice.name].build().make(groups)


def unique_parameters(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(parameter): parameter for parameter in parameters}.values())


class Plateau(nn.Module):
    """The factor of a schedule that follows the loss, and what it has seen of it; saved with the run.

    See `PlateauSchedule` for when it drops.
    """

    factor: Tensor
    lowest: Tensor
    total: Tensor
    seen: Tensor
    waited: Tensor

    def __init__(self, schedule: PlateauSchedule) -> None:
        super().__init__()
        self.schedule = schedule
        for name, start in (("factor", 1.0), ("lowest", math.inf), ("total", 0.0), ("seen", 0.0), ("waited", 0.0)):
            self.register_buffer(name, torch.tensor(start, dtype=torch.float64))

    def see(self, loss: float) -> None:
        """The loss of a step; one that is not finite does not count."""
        if not math.isfinite(loss):
            return
        self.total += loss
        self.seen += 1
        if self.seen < self.schedule.window:
            return
        mean = self.total / self.seen
        self.total.zero_()
        self.seen.zero_()
        if torch.isinf(self.lowest) or mean < self.lowest - 0.01 * self.lowest.abs():
            self.lowest.copy_(mean)
            self.waited.zero_()
            return
        self.waited += 1
        if self.waited >= self.schedule.patience:
            self.factor *= self.schedule.drop_to
            self.waited.zero_()


class Scaler(nn.Module):
    """Keeps torch's gradient scaler among what is saved."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.scaler = torch.amp.GradScaler(device)

    def get_extra_state(self) -> Tensor:
        state = self.scaler.state_dict()
        return torch.tensor([state["scale"], state["_growth_tracker"]], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        scale, tracker = state.tolist()
        self.scaler.load_state_dict(self.scaler.state_dict() | {"scale": scale, "_growth_tracker": int(tracker)})


class Average(AveragedModel):
    """A moving average of an embedder's weights, which is an embedder itself."""

    module: Embedder


def average_weights(model: Embedder, decay: float) -> Average:
    """A moving average of a model's weights; its buffers are the model's latest.

    The n-th update keeps the share min(decay, (1 + n) / (10 + n)), so that a short run is not held back by its random
    start (as TensorFlow's ExponentialMovingAverage has it).
    """

    @torch.no_grad()
    def update(average: Sequence[Tensor], latest: Sequence[Tensor], count: Tensor | int) -> None:
        steps = float(count)
        torch._foreach_lerp_(list(average), list(latest), 1.0 - min(decay, (1.0 + steps) / (10.0 + steps)))

    return Average(model, multi_avg_fn=update)


def half_precision(wish: str, device: torch.device) -> torch.dtype | None:
    """What autocast computes in, None for float32. "auto" is bfloat16 or float16 on CUDA, float32 elsewhere.

    Raises: ValueError for float16 on a device whose gradients torch cannot scale.
    """
    if wish == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if wish == "fp16" and device.type not in ("cuda", "cpu"):
        raise ValueError(f"precision 'fp16' is for CUDA and CPU; the device is {device.type}. Take 'bf16' or 'fp32'.")
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wish]


def rate_factor(schedule: Schedule, step: int, plateau: Plateau | None = None) -> float:
    """What the learning rates are multiplied by at the step that is `step` steps after the start (0 is the first)."""
    factor = schedule.factor(step)
    if plateau is not None and step >= schedule.warm_up_steps:
        factor *= float(plateau.factor)
    return factor


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Set every group's learning rate; returns the rate of each named group."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return {group["name"]: group["lr"] for group in optimizer.param_groups}
