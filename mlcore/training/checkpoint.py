"""Everything that a run must remember to go on as if it had never stopped, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

HEADER_LIMIT = 1024 * 1024


@dataclass
class CheckpointState:
    """What is saved and restored; `modules` by name (model, method).

    `plan`, the batches of the present epoch, is kept where they could not be drawn again (they were made by looking at
    the model as it was then).
    """

    modules: dict[str, nn.Module]
    optimizer: torch.optim.Optimizer
    plan: Tensor | None = None


def pack_checkpoint(
    parts: CheckpointState, step: int, spec_sha256: str, seconds: float = 0.0, *, start_evaluated: bool = True
) -> bytes:
    """The state after `step` steps and so many seconds: weights, buffers, optimizer, and torch's random state.

    `start_evaluated`: whether the run's evaluation of step 0 was over by then.
    """
    tensors: dict[str, Tensor] = {"rng": torch.get_rng_state()}
    for name, module in parts.modules.items():
        for key, value in module.state_dict().items():
            tensors[f"{name}/{key}"] = value
    if parts.plan is not None:
        tensors["plan"] = parts.plan
    scalars: dict[str, dict[str, object]] = {}
    for index, state in parts.optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            else:
                scalars.setdefault(str(index), {})[key] = value
    facts = {
        "step": str(step),
        "seconds": repr(seconds),
        "spec_sha256": spec_sha256,
        "scalars": json.dumps(scalars),
        "first_look_told": str(start_evaluated),
    }
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, facts)


def unpack_checkpoint(data: bytes, parts: CheckpointState, spec_sha256: str) -> tuple[int, float]:
    """Restore what `pack_checkpoint` saved; returns the step and the seconds. ValueError for another run's file."""
    unpack_modules(data, parts.modules, spec_sha256)
    facts, tensors = read_facts(data), load(data)
    state: dict[int, dict[str, object]] = {
        int(index): dict(values) for index, values in json.loads(facts["scalars"]).items()
    }
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/", 2)
            state.setdefault(int(index), {})[name] = value
    lay_out_as_parameters(state, parts.optimizer)
    groups = parts.optimizer.state_dict()["param_groups"]
    parts.optimizer.load_state_dict({"state": state, "param_groups": groups})
    parts.plan = tensors.get("plan")
    torch.set_rng_state(tensors["rng"])
    return int(facts["step"]), float(facts.get("seconds", 0.0))


def unpack_modules(data: bytes, modules: Mapping[str, nn.Module], spec_sha256: str) -> int:
    """Restore these modules alone; returns the step. ValueError if the file is not this run's."""
    check_owner(data, spec_sha256)
    tensors = load(data)
    for name, module in modules.items():
        own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        module.load_state_dict(own, strict=True)
    return checkpoint_step(data)


def check_owner(data: bytes, spec_sha256: str) -> None:
    """Raises: ValueError if the checkpoint is not one of the run with these settings."""
    if read_facts(data).get("spec_sha256") != spec_sha256:
        raise ValueError("the checkpoint belongs to a run with other settings, so it cannot be resumed from.")


def checkpoint_step(data: bytes) -> int:
    return int(read_facts(data)["step"])


def start_was_evaluated(data: bytes) -> bool:
    """Whether the evaluation of step 0 was over when the checkpoint was made; one of before this was noted says so."""
    return read_facts(data).get("first_look_told", "True") == "True"


def lay_out_as_parameters(state: dict[int, dict[str, object]], optimizer: torch.optim.Optimizer) -> None:
    """A fused optimizer walks through memory, so its tensors must lie there in the order of their parameter's."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameters[index].shape:
                values[name] = torch.empty_like(parameters[index], dtype=value.dtype).copy_(value)


def read_facts(data: bytes) -> dict[str, str]:
    """The text facts in a safetensors header; ValueError if it is none or too large."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(HEADER_LIMIT, len(data) - 8):
        raise ValueError("the checkpoint is not a safetensors file, or it is cut off.")
    return json.loads(data[8 : 8 + length]).get("__metadata__", {})
