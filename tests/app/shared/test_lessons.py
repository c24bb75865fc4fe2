"""What each lesson says can be seen is so, for three seeds. Looks in the middle of a run are left out, for speed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from app.lab.margin_wedges import margin_wedges
from app.shared.lessons import find_lesson
from mlcore.spec.run_spec import RunSpec
from mlcore.training.events import Evaluated, SnapshotTaken
from mlcore.training.loop import train

SEEDS = (0, 1, 2)
SHORT = 500  # steps where only what margins do is compared
ONE_STAR = 36.0  # degrees that each of ten stars has


class Ending(NamedTuple):
    """A lesson's run: what was measured before the first step and after the last one, and its last picture."""

    first: Evaluated
    last: Evaluated
    arrays: dict[str, np.ndarray]


def train_lesson(key: str, seed: int, **changes: object) -> Ending:
    lesson = find_lesson(key)
    assert lesson is not None
    settings = lesson.settings | {"watch.evaluate_every": 1_000_000, "seed": seed} | changes
    looks, pictures = [], []
    for event in train(RunSpec.read({}).changed(settings)):
        if isinstance(event, Evaluated):
            looks.append(event)
        elif isinstance(event, SnapshotTaken):
            pictures.append(event)
    return Ending(looks[0], looks[-1], pictures[-1].arrays)


def star_gaps(ending: Ending) -> np.ndarray:
    """Degrees between neighbouring stars, all the way round."""
    stars = ending.arrays["proxies"].astype(float)
    turns = np.sort(np.arctan2(stars[:, 1], stars[:, 0]))
    return np.degrees(np.diff(turns, append=turns[0] + 2 * np.pi))


def own_angle(ending: Ending) -> float:
    """Degrees from an unseen image to its own star, the median."""
    return float(np.degrees(ending.last.angles["held_out"]["own_proxy"]["median"]))


@pytest.mark.parametrize("seed", SEEDS)
def test_arcface_in_two_dimensions_spreads_ten_stars_round_the_circle(seed):
    ending = train_lesson("arcface-2d", seed)
    gaps = star_gaps(ending)
    assert len(gaps) == 10
    assert gaps.max() <= 2 * ONE_STAR
    assert gaps.min() >= ONE_STAR / 2
    assert ending.last.held_out["map_at_r"] >= 0.9
    wedges = margin_wedges(ending.arrays["proxies"], ending.last.margin_lines)
    assert (wedges > 0).all()
    assert np.degrees(wedges.min()) > 2 * own_angle(ending)  # typical unseen images lie well inside


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_margin_makes_classes_tighter_until_stars_fall_together(seed):
    changes = {"budget.steps": SHORT}
    none, large, impossible = (
        train_lesson("arcface-2d", seed, **changes, **{"loss.margin": margin}) for margin in (0.0, 0.6, 1.1)
    )
    assert own_angle(none) > 1.4 * own_angle(large)
    assert star_gaps(none).min() > ONE_STAR / 3
    assert star_gaps(impossible).min() < ONE_STAR / 10
    assert impossible.last.held_out["map_at_r"] < none.last.held_out["map_at_r"]
