"""One sentence about a finished run, made from its numbers, and a warning when training did harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.shared.text import BACKBONE_ALONE, UNTRAINED
from mlcore.evaluation.metrics import METRICS, PRIMARY
from mlcore.runs.records import EvaluatedRecord

SCORE = METRICS[PRIMARY].title
GAP = 0.25
SOLVED = 0.95  # a score that leaves little to learn
NOISE = 0.01


@dataclass(frozen=True)
class Verdict:
    """`harm` is "" or the plain sentence that unseen classes came out worse than without training."""

    sentence: str
    harm: str


def judge_run(
    evaluations: Sequence[EvaluatedRecord], *, frozen: bool, unseen_classes: bool, idle: bool = False
) -> Verdict | None:
    """From the evaluations of a run, in their order; None if there is nothing to compare.

    `idle`: steps of the run taught nothing, so that no advice is given on what was learned.
    """
    first, last = evaluations[0], evaluations[-1]
    before, after = first["held_out"].get(PRIMARY), last["held_out"].get(PRIMARY)
    if before is None or after is None or first["step"] == last["step"]:
        return None
    whom = "Unseen classes" if unseen_classes else "Unseen images"
    parts = [f"{whom}: {SCORE} {format_share(before)} → {format_share(after)}."]
    train_before, train_after = first["train"].get(PRIMARY), last["train"].get(PRIMARY)
    if train_before is not None and train_after is not None:
        learnt = train_after - train_before
        parts.append(f"Training classes: {format_share(train_before)} → {format_share(train_after)}.")
        if idle:
            parts.append("Many steps taught nothing; see why above.")
        elif train_after - after > GAP and learnt > 2 * max(NOISE, after - before):
            parts.append("The gap suggests over-fitting; try a larger margin, augmentation or fewer steps.")
        elif after - before > NOISE:
            parts.append("What was learnt carries over.")
        elif abs(after - before) <= NOISE and before >= SOLVED:
            parts.append(
                "Before training nearly all was found already; classes that look more alike would ask for more."
            )
        elif abs(after - before) <= NOISE and learnt > 2 * NOISE:
            parts.append("What was learnt does not carry over; try augmentation, a larger margin or another loss.")
        elif abs(after - before) <= NOISE:
            parts.append("MAP@R has hardly changed; try more steps or a higher learning rate.")
    return Verdict(
        " ".join(parts), harm_sentence(evaluations, whom, "" if idle else advice_sentence(evaluations, frozen=frozen))
    )


def progress_sentence(evaluations: Sequence[EvaluatedRecord]) -> str:
    """'So far: MAP@R of held-out images .22 → .31.' of a run that goes on; before its first step where it begins."""
    scored = held_out_scores(evaluations)
    if not scored:
        return "How well held-out images are found is not measured yet."
    (_, start), (_, now) = scored[0], scored[-1]
    if len(scored) == 1:
        return f"{SCORE} of held-out images before training: {format_share(start)}."
    return f"So far: {SCORE} of held-out images {format_share(start)} → {format_share(now)}."


def harm_sentence(evaluations: Sequence[EvaluatedRecord], whom: str, advice: str) -> str:
    """Compared with what there was before training: the untrained embedding and the backbone's own features."""
    (_, start), *_, (_, after) = held_out_scores(evaluations)
    alone = (evaluations[0].get("backbone") or {}).get(PRIMARY)
    best = max(value for value in (alone, start) if value is not None)
    if after >= best - NOISE:
        return ""
    by_backbone = alone is not None and alone >= start
    what = BACKBONE_ALONE if by_backbone else UNTRAINED
    then = f"{SCORE} {format_share(best)} before training, {format_share(after)} now"
    return f"{whom} are found worse than with {what}: {then}. {advice}".strip()


def advice_sentence(evaluations: Sequence[EvaluatedRecord], *, frozen: bool) -> str:
    """What to do about a run that did harm: more steps only where they still helped at its end."""
    scored = held_out_scores(evaluations)
    (_, start), *_, (end, after) = scored
    step, peak = max(scored, key=lambda at_and_score: at_and_score[1])
    if peak > max(start, after) + NOISE:
        return f"At step {step:,} it was {format_share(peak)}: take fewer steps, or lower the learning rates."
    if not frozen:
        return "Freeze the backbone, or lower its learning rate."
    if after < start - NOISE:
        return "Lower the learning rates, or take fewer steps."
    halfway = next(score for at, score in scored if 2 * at >= end)
    more = ", or more steps: it was still rising" if after > halfway + NOISE else ""
    return f"Try a larger embedding or a residual head{more}."


def held_out_scores(evaluations: Sequence[EvaluatedRecord]) -> list[tuple[int, float]]:
    """The step and the held-out score of every evaluation that has one."""
    found = [(each["step"], each["held_out"].get(PRIMARY)) for each in evaluations]
    return [(step, score) for step, score in found if score is not None]


def format_share(value: float) -> str:
    """'.58', as retrieval tables print shares."""
    text = f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return text.removeprefix("0") if value < 1 else text
