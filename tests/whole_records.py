"""Events as a worker writes them, for tests that care only about some of their fields."""

from __future__ import annotations

from typing import Any

ANGLES = {"bins": 2, "samples": 0, "of": 0}


def step_event(step: int, **fields: Any) -> dict[str, Any]:
    rates = {"learning_rates": {"head": 0.001}, "grad_norm": 1.0, "tuples": None, "parts": {}}
    pace = {"images_per_s": 100.0, "memory_mb": 1.0, "seconds_left": 1.0}
    return {"kind": "step", "step": step, "loss": 1.0, **rates, **pace, **fields}


def evaluated_event(step: int, **fields: Any) -> dict[str, Any]:
    angles = {"held_out": dict(ANGLES), "train": dict(ANGLES)}
    return {"kind": "evaluated", "step": step, "held_out": {}, "train": {}, "angles": angles, **fields}
