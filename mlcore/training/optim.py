"""The optimizer: backbone, head and proxies each with their own learning rate, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from mlcore.runs.spec import OptimizerChoice
from mlcore.training.embedder import Embedder
from mlcore.training.methods import TrainingMethod


def build_optimizer(choice: OptimizerChoice, model: Embedder, method: TrainingMethod) -> torch.optim.Optimizer:
    """One optimizer over all that trains. Weight decay is for matrices, never for biases, norms or proxies.

    What the losses learn trains at the proxies' rate, what else the method learns (a classifier ...) at the head's.
    """
    rates = {"backbone": choice.backbone_lr, "head": choice.head_lr, "proxies": choice.proxies_lr}
    of_losses = unique(parameter for loss in method.losses() for parameter in loss.parameters())
    of_method = [parameter for parameter in method.parameters() if all(parameter is not other for other in of_losses)]
    members = {
        "backbone": model.backbone.parameters(),
        "head": [*model.head.parameters(), *of_method],
        "proxies": of_losses,
    }
    groups = []
    for name, parameters in members.items():
        training = [parameter for parameter in parameters if parameter.requires_grad]
        matrices = [parameter for parameter in training if parameter.ndim > 1 and name != "proxies"]
        others = [parameter for parameter in training if parameter.ndim <= 1 or name == "proxies"]
        for part, decay in ((matrices, choice.weight_decay), (others, 0.0)):
            if part:
                groups.append(
                    {"params": part, "lr": rates[name], "base_lr": rates[name], "weight_decay": decay, "name": name}
                )
    if not groups:
        raise ValueError("nothing would be trained: no part of backbone, head and loss has trainable weights.")
    # Fused: one call for all tensors of a group instead of nine for each, a tenth of a small network's step.
    fused = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    if choice.name == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True, fused=fused)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[choice.name](groups, lr=0.0, fused=fused)


def unique(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(parameter): parameter for parameter in parameters}.values())


def rate_factor(choice: OptimizerChoice, step: int, total_steps: int) -> float:
    """What the learning rates are multiplied by at the step that is `step` steps after the start (0 is the first)."""
    if step < choice.warm_up_steps:
        return (step + 1) / choice.warm_up_steps
    if choice.schedule == "constant":
        return 1.0
    done = (step - choice.warm_up_steps) / max(1, total_steps - choice.warm_up_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Set every group's learning rate; returns the rate of each named group."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return {group["name"]: group["lr"] for group in optimizer.param_groups}
