"""A plan: steps in order, their effects, undo, and the trip through text."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mlcore.data.prepare import STEPS, Plan, complete_index

RECORD = {
    "steps": [
        {"step": "sides", "smallest": 32},
        {"step": "drop", "files": ["0.png", "1.png"]},
        {"step": "duplicates", "distance": 3, "spare": ["5.png"]},
        {"step": "counts", "fewest": 3, "most": 9, "seed": 4},
        {"step": "split_classes", "held_out": 0.4, "seed": 2},
        {"step": "query_gallery", "queries": 2},
        {"step": "folds", "count": 3},
    ]
}
BARE = {
    "sides": {"smallest": 2},
    "counts": {"most": 3},
    "drop": {"files": ["2.png"]},
    "split_counts": {"low": 1, "high": 9},
}
PREVIOUS = {"split_official": ["split_samples"], "query_gallery": ["split_samples"]}


def toy(count=200):
    generator = np.random.default_rng(0)
    return complete_index(
        pd.DataFrame(
            {
                "file": [f"{n}.png" for n in range(count)],
                "label": [f"{n % 13}" if n % 29 else "rare" for n in range(count)],
                "width": generator.integers(33, 64, size=count),
                "height": [20 if n % 10 == 3 else 40 for n in range(count)],
                "hash": [f"{n // 2 * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(count)],
            }
        )
    )


def test_effects_add_up_step_by_step_to_what_is_left():
    index = toy()
    done, effects = Plan.read(RECORD).apply(index)
    images, classes = len(index), index["label"].nunique()
    for effect in effects:
        assert effect.kept_images + effect.dropped_images == images
        assert effect.kept_classes + effect.dropped_classes == classes
        images, classes = effect.kept_images, effect.kept_classes
        assert effect.text in effect.sentence()
        assert ("nothing is dropped" in effect.sentence()) == (effect.dropped_images == 0)
    assert (images, classes) == (len(done), done["label"].nunique())
    assert [effect.dropped_images for effect in effects[:2]] == [20, 2]
    assert effects[2].dropped_images > 50
    assert [effect.step for effect in effects] == [step["step"] for step in RECORD["steps"]]


def test_the_result_is_what_was_asked_for():
    done = Plan.read(RECORD).apply(toy())[0]
    assert done["height"].min() >= 32
    assert not {"0.png", "1.png"} & set(done["file"])
    assert done["label"].value_counts().between(3, 9).all()
    assert set(done["split"]) == {"train", "query", "gallery"}
    assert set(done["fold"]) == {0, 1, 2}


def test_undo_is_as_if_the_last_step_had_never_been():
    index, plan = toy(), Plan.read(RECORD)
    before, after = toy(), Plan()
    for step in plan.steps:
        after = after.with_steps(step)
        pd.testing.assert_frame_equal(after.without_last_step().apply(index)[0], before)
        before = after.apply(index)[0]
    assert after == plan
    pd.testing.assert_frame_equal(index, toy())
    while plan.steps:
        plan = plan.without_last_step()
    assert plan.without_last_step() == Plan()
    assert plan.effects(index) == []


def test_a_plan_done_twice_gives_the_same():
    one, other = (Plan.read(RECORD).apply(toy())[0] for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_survives_the_trip_through_text_and_says_what_it_does(name):
    steps = [{"step": name} | BARE.get(name, {}) for name in (*PREVIOUS.get(name, []), name)]
    plan = Plan.read({"steps": steps})
    assert Plan.from_text(plan.to_yaml()) == Plan.from_text(plan.model_dump_json()) == plan
    effect = plan.effects(toy())[-1]
    assert len(effect.text) > 10
    assert STEPS[name].__doc__
    assert STEPS[name].title


def test_a_plan_cannot_be_changed():
    plan = Plan.read(RECORD)
    with pytest.raises(ValidationError, match="frozen"):
        plan.steps = ()
    with pytest.raises(ValidationError, match="frozen"):
        plan.steps[0].smallest = 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"steps": [{"step": "sizes"}]}, "step 1: there is no step 'sizes'. Did you mean 'sides'?"),
        ({"steps": [{}]}, "step 1: it must say which 'step' it is. Known: sides, "),
        ({"stepz": []}, "there is no 'stepz'"),
        ({"steps": [{"step": "sides", "smalest": 2}]}, "there is no 'smalest'. Did you mean 'smallest'?"),
        ({"steps": [{"step": "sides"}]}, "step 1: sides needs smallest or largest; got neither"),
        (
            {"steps": [{"step": "sides", "smallest": 9, "largest": 3}]},
            "smallest must not be more than largest; got 9 and 3",
        ),
        ({"steps": [{"step": "split_counts", "low": 2}]}, "step 1 (split_counts): it needs 'high'"),
        ({"steps": [{"step": "split_official"}, {"step": "folds", "count": 1}]}, "step 2 (folds): count: "),
        ({"steps": [{"step": "duplicates", "kinds": ["twins"]}]}, "got 'twins'"),
        ({"steps": [{"step": "drop", "files": []}]}, "step 1 (drop): files: "),
        ({"steps": 3}, "steps: "),
        ({"steps": [{"step": "split_official"}] * 51}, "steps: "),
    ],
)
def test_what_a_plan_does_not_know_is_refused_in_a_sentence(record, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Plan.read(record)
    assert message in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"step": "sides", "smallest": 99},
            r"step 2 \(Image size\): no side under 99 px: no image would be left of 199",
        ),
        ({"step": "drop", "files": ["7.png"]}, "there is no image '7.png' at this step"),
        ({"step": "split_official"}, "must have a word for every row; 199 have none"),
    ],
)
def test_step_that_cannot_be_done_is_named(step, message):
    plan = Plan.read({"steps": [{"step": "drop", "files": ["7.png"]}, step]})
    with pytest.raises(ValueError, match=message):
        plan.apply(toy())


def test_text_that_is_no_plan_is_refused():
    for text in ("steps: [", "- 1", "steps: *a", "!!python/object:os.system {}"):
        with pytest.raises(ValueError, match="settings file"):
            Plan.from_text(text)


def test_of_near_duplicates_the_earlier_stays_unless_the_later_is_spared():
    index = toy(10).assign(label="a")
    plan = Plan.read({"steps": [{"step": "duplicates", "distance": 0, "spare": ["5.png", "6.png", "7.png"]}]})
    assert plan.apply(index)[0]["file"].tolist() == [f"{n}.png" for n in (0, 2, 5, 6, 7, 8)]
    across = Plan.read({"steps": [{"step": "duplicates", "distance": 0, "kinds": ["across_classes"]}]})
    assert across.effects(index)[0].dropped_images == 0


@pytest.mark.parametrize("files", [["3.png"], ["3.png", "9.png"]])
def test_marked_files_go_and_the_others_stay(files):
    done = Plan.read({"steps": [{"step": "drop", "files": files}]}).apply(toy(10))[0]
    assert done["file"].tolist() == [f"{n}.png" for n in range(10) if f"{n}.png" not in files]
