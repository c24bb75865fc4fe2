"""One sentence about a finished run, made from its numbers, and a warning when training did harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GAP = 0.25
NOISE = 0.01


@dataclass(frozen=True)
class Verdict:
    """`harm` is "" or the plain sentence that unseen classes came out worse than without training."""

    sentence: str
    harm: str


def verdict(
    first: dict[str, Any], last: dict[str, Any], *, frozen: bool, unseen_classes: bool, idle: bool = False
) -> Verdict | None:
    """From the first and the last evaluation of a run; None if there is nothing to compare.

    `idle`: steps of the run taught nothing, so that no advice is given on what was learned.
    """
    before, after = first["held_out"].get("map_at_r"), last["held_out"].get("map_at_r")
    if before is None or after is None or first["step"] == last["step"]:
        return None
    whom = "Unseen classes" if unseen_classes else "Unseen images"
    parts = [f"{whom}: MAP@R {number(before)} → {number(after)}."]
    train_before, train_after = first["train"].get("map_at_r"), last["train"].get("map_at_r")
    if train_before is not None and train_after is not None:
        parts.append(f"Training classes: {number(train_before)} → {number(train_after)}.")
        if idle:
            parts.append("Many steps taught nothing; see why above.")
        elif train_after - after > GAP and train_after - train_before > 2 * max(NOISE, after - before):
            parts.append("The gap suggests over-fitting; try a larger margin, augmentation or fewer steps.")
        elif after - before > NOISE:
            parts.append("What was learnt carries over.")
        elif abs(after - before) <= NOISE:
            parts.append("That is no change worth the name; try more steps or a higher learning rate.")
    return Verdict(" ".join(parts), harm(first, after, frozen=frozen, whom=whom))


def harm(first: dict[str, Any], after: float, *, frozen: bool, whom: str) -> str:
    """Compared with the untrained embeddings and with the untrained backbone's own features."""
    raw = (first.get("backbone") or {}).get("map_at_r")
    untrained = first["held_out"]["map_at_r"]
    best = max(value for value in (raw, untrained) if value is not None)
    if after >= best - NOISE:
        return ""
    what = "the backbone's own features, without any training" if raw is not None and raw >= untrained else "the start"
    advice = "Try a larger embedding or more steps." if frozen else "Freeze the backbone, or lower its learning rate."
    return f"{whom} are found worse than with {what}: MAP@R {number(best)} before, {number(after)} now. {advice}"


def number(value: float) -> str:
    """'.58', as retrieval tables print shares."""
    text = f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return text.removeprefix("0") if value < 1 else text
