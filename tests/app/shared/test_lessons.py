"""What each lesson says can be seen is so, for three seeds.

For speed nothing is looked at in the middle of a run, and what shows earlier is trained for fewer steps: each test says
what is smaller than in its lesson.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from app.lab.margin_wedges import margin_wedges
from app.shared.lessons import find_lesson
from mlcore.data import ImageTable
from mlcore.spec.run_spec import RunSpec
from mlcore.training import prepare
from mlcore.training.events import Evaluated, SnapshotTaken, StepDone
from mlcore.training.loop import train

SEEDS = (0, 1, 2)
ONE_STAR = 36.0  # degrees that each of ten stars has


class Ending(NamedTuple):
    """A lesson's run: what was measured before the first step and after the last one, its last picture, its losses."""

    first: Evaluated
    last: Evaluated
    arrays: dict[str, np.ndarray]
    losses: list[float]

    @property
    def gain(self) -> float:
        """What training added to MAP@R of held-out images."""
        return self.last.held_out["map_at_r"] - self.first.held_out["map_at_r"]


def train_lesson(key: str, seed: int, then: Mapping[str, object] | None = None) -> Ending:
    """The lesson's settings, and what a person changes `then`."""
    lesson = find_lesson(key)
    assert lesson is not None
    spec = RunSpec.read({}).changed(lesson.settings | {"watch.evaluate_every": 1_000_000, "seed": seed})
    looks, pictures, losses = [], [], []
    for event in train(spec.changed(then or {})):
        if isinstance(event, Evaluated):
            looks.append(event)
        elif isinstance(event, SnapshotTaken):
            pictures.append(event)
        elif isinstance(event, StepDone):
            losses.append(event.loss)
    return Ending(looks[0], looks[-1], pictures[-1].arrays, losses)


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
    """In 500 steps of 1,500."""
    none, large, impossible = (
        train_lesson("arcface-2d", seed, {"loss.margin": margin, "budget.steps": 500}) for margin in (0.0, 0.5, 1.1)
    )
    assert own_angle(none) > 1.4 * own_angle(large)
    assert star_gaps(none).min() > ONE_STAR / 3
    assert star_gaps(impossible).min() < ONE_STAR / 10
    assert impossible.last.held_out["map_at_r"] < none.last.held_out["map_at_r"]


@pytest.mark.parametrize("seed", SEEDS)
def test_triplets_and_proxies_both_pull_unseen_characters_together(seed):
    """In 70 steps of 300."""
    triplets, proxies = (
        train_lesson("triplet-or-proxies", seed, {"loss": loss, "budget.steps": 70})
        for loss in ("triplet_margin", "proxy_anchor")
    )
    assert min(triplets.gain, proxies.gain) > 0.2
    assert abs(triplets.gain - proxies.gain) < 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_careful_fine_tuning_helps_the_search_for_unseen_characters(seed, monkeypatch):
    """With every third character in half of the typefaces, and 16 steps of 80."""
    whole = prepare.load_table
    monkeypatch.setattr(prepare, "load_table", lambda spec: few_images(whole(spec), every=3, of_each=18))
    ending = train_lesson("fine-tuning-helps", seed, {"budget.steps": 16})
    assert ending.first.backbone["map_at_r"] == ending.first.held_out["map_at_r"]  # its own features, no head
    assert ending.gain > 0.05


def few_images(table: ImageTable, *, every: int, of_each: int) -> ImageTable:
    """Every so many classes with the first images of each."""
    firsts = [np.flatnonzero(table.labels == label)[:of_each] for label in range(0, len(table.class_names), every)]
    rows = np.concatenate(firsts)
    return replace(
        table,
        pixels=table.pixels[rows],
        labels=np.repeat(np.arange(len(firsts)), [len(found) for found in firsts]),
        class_names=table.class_names[::every],
        image_names=tuple(table.image_names[row] for row in rows),
        parents=None,
        parent_names=(),
        texts=(),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_fine_tuning_at_a_high_rate_hurts_the_search_for_unseen_emoji(seed):
    """In 12 steps of 40."""
    ending = train_lesson("fine-tuning-hurts", seed, {"budget.steps": 12})
    assert np.mean(ending.losses[-3:]) < 0.9 * np.mean(ending.losses[:3])
    assert ending.last.held_out["map_at_r"] < ending.first.backbone["map_at_r"] - 0.04
