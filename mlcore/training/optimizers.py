"""The declared optimizers: how each is made for a run's groups of parameters."""

from __future__ import annotations

from typing import Any

import torch

from mlcore.declare import Registry

OPTIMIZERS = Registry("optimizer")

Group = dict[str, Any]


class OptimizerPart:
    """Makes a torch optimizer. The groups bring their own rates and weight decay."""

    def __init__(self) -> None:
        """No optimizer has knobs of its own: rates and decay are settings of the run."""

    def make(self, groups: list[Group]) -> torch.optim.Optimizer:
        raise NotImplementedError


def can_fuse(groups: list[Group]) -> bool:
    """Whether one call may update a group instead of nine for each tensor: a tenth of a small network's step."""
    return all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])


@OPTIMIZERS.add(
    "adamw",
    title="AdamW",
    family="optimizer",
    paper="Loshchilov & Hutter, ICLR 2019, arXiv:1711.05101",
    aliases=("AdamW (torch)",),
)
class AdamW(OptimizerPart):
    """Adam whose weight decay does not go through the gradient.

    What to expect: The usual choice; its rates need little tuning.
    """

    def make(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=0.0, fused=can_fuse(groups))


@OPTIMIZERS.add(
    "adam",
    title="Adam",
    family="optimizer",
    paper="Kingma & Ba, ICLR 2015, arXiv:1412.6980",
    aliases=("Adam (torch)",),
)
class Adam(OptimizerPart):
    """Steps of each weight scaled by how large its gradients have been; weight decay goes through the gradient.

    What to expect: As AdamW, with a decay that is weaker where gradients are large.
    """

    def make(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups, lr=0.0, fused=can_fuse(groups))


@OPTIMIZERS.add(
    "radam",
    title="RAdam",
    family="optimizer",
    paper="Liu et al., ICLR 2020, arXiv:1908.03265",
    aliases=("RAdam (torch)",),
)
class RAdam(OptimizerPart):
    """Adam that begins carefully, as if with a warm-up; weight decay as in AdamW.

    What to expect: Slow first steps; afterwards as AdamW, without a warm-up to set.
    """

    def make(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.RAdam(groups, lr=0.0, decoupled_weight_decay=True)


@OPTIMIZERS.add(
    "lion",
    title="Lion",
    family="optimizer",
    paper="Chen et al., NeurIPS 2023, arXiv:2302.06675",
    aliases=("Lion (timm)",),
)
class Lion(OptimizerPart):
    """Moves every weight by its rate, against the sign of a mean of its gradients.

    What to expect: It wants rates that are three to ten times lower than AdamW's.
    """

    def make(self, groups: list[Group]) -> torch.optim.Optimizer:
        from timm.optim.lion import Lion  # here, because it takes a second and few runs want it

        return Lion(groups, lr=0.0)


@OPTIMIZERS.add("sgd", title="SGD", family="optimizer", aliases=("SGD (torch)",))
class SGD(OptimizerPart):
    """Along the gradient, with Nesterov momentum of 0.9.

    What to expect: It wants rates ten to a hundred times higher than AdamW's, and a schedule.
    """

    def make(self, groups: list[Group]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True, fused=can_fuse(groups))
