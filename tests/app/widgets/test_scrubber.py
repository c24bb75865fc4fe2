"""The scrubber's message and its answer: who set the place last, and what is said to have changed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app.widgets.scrubber import ScrubberEvent
from app.widgets.scrubber.widget import _message, _scrubbed


def message(steps: Any = (0, 20, 40), **changes: Any) -> dict[str, Any]:
    given = {"total": 300, "shown": 40, "live": True, "running": True, "playing": False}
    return _message(steps, **{**given, **changes})


def said(**states: tuple[int, Any]) -> dict[str, Any]:
    """States as the browser sends them: name=(stamp, value)."""
    return {name: {"stamp": stamp, "value": value} for name, (stamp, value) in states.items()}


def test_numbers_of_any_type_make_the_same_message() -> None:
    plain = message()
    counted = message(np.array([0, 20, 40]), total=np.int64(300), shown=np.int32(40), live=np.True_)
    assert json.dumps(counted) == json.dumps(plain)


def test_two_hundred_snapshots_stay_under_two_kilobytes() -> None:
    assert len(json.dumps(message(range(0, 40_000, 200), total=40_000))) < 2000


def test_a_snapshot_past_the_plan_stretches_the_axis() -> None:
    assert message((0, 320), total=300)["total"] == 320


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": (0, 40, 20)}, "steps must ascend"),
        ({"steps": (0, 20, 20)}, "steps must ascend"),
        ({"steps": (-20, 0)}, "steps must be 0 or more; got -20"),
        ({"total": -1}, "total must be 0 or more; got -1"),
        ({"shown": -5}, "shown must be 0 or more; got -5"),
    ],
)
def test_wrong_steps_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        message(**wrong)


def test_an_untouched_scrubber_repeats_the_page() -> None:
    assert _scrubbed(message(), {"step": None, "live": None}, {}) == ScrubberEvent(40, True, False, frozenset())
    stays = message(shown=20, live=False, playing=True)
    assert _scrubbed(stays, {}, {}) == ScrubberEvent(20, False, True, frozenset())


def test_live_is_the_newest_snapshot_and_nothing_before_the_first() -> None:
    assert _scrubbed(message((0, 20, 40, 60), shown=40), {}, {}).step == 60
    assert _scrubbed(message((), shown=None), {}, {}) == ScrubberEvent(None, True, False, frozenset())


def test_no_step_and_not_live_stands_at_the_first_snapshot() -> None:
    assert _scrubbed(message(shown=None, live=False), {}, {}).step == 0


def test_choosing_a_step_leaves_live_once() -> None:
    seen: dict[str, Any] = {}
    _scrubbed(message(), {}, seen)
    states = said(step=(5, 20))
    assert _scrubbed(message(), states, seen) == ScrubberEvent(20, False, False, frozenset({"step", "live"}))
    handed_back = message(shown=20, live=False)
    assert _scrubbed(handed_back, states, seen) == ScrubberEvent(20, False, False, frozenset())


def test_another_step_says_only_that_the_step_changed() -> None:
    seen: dict[str, Any] = {}
    _scrubbed(message(), said(step=(5, 20)), seen)
    assert _scrubbed(message(shown=20, live=False), said(step=(9, 0)), seen).changed == {"step"}


def test_the_newer_of_step_and_live_counts() -> None:
    assert _scrubbed(message(shown=20, live=False), said(step=(5, 20), live=(6, True)), {}).live
    assert _scrubbed(message(), said(step=(7, 20), live=(6, True)), {}) == ScrubberEvent(
        20, False, False, frozenset({"step", "live"})
    )


def test_a_page_that_hands_nothing_back_still_hears_the_person() -> None:
    seen: dict[str, Any] = {}
    states = said(step=(5, 20))
    _scrubbed(message(), states, seen)
    grown = _scrubbed(message((0, 20, 40, 60), shown=60), states, seen)
    assert grown == ScrubberEvent(20, False, False, frozenset())


def test_a_page_that_changes_its_place_takes_over_from_the_person() -> None:
    seen: dict[str, Any] = {}
    states = said(step=(5, 20))
    _scrubbed(message(), states, seen)
    _scrubbed(message(shown=20, live=False), states, seen)
    assert _scrubbed(message(shown=40, live=False), states, seen).step == 40
    assert _scrubbed(message(shown=40, live=True), states, seen).live
    back = said(step=(8, 0))
    assert _scrubbed(message(shown=40, live=True), back, seen).step == 0


def test_a_page_that_is_late_does_not_take_over() -> None:
    seen: dict[str, Any] = {}
    _scrubbed(message(), said(step=(5, 20)), seen)
    assert _scrubbed(message(shown=20, live=False), said(step=(6, 0)), seen).step == 0


def test_play_is_told_apart_from_moving() -> None:
    seen: dict[str, Any] = {}
    _scrubbed(message(), {}, seen)
    begun = _scrubbed(message(), said(playing=(3, True)), seen)
    assert (begun.playing, begun.live, begun.changed) == (True, True, {"playing"})
    handed_back = _scrubbed(message(playing=True), said(playing=(4, False)), seen)
    assert (handed_back.playing, handed_back.changed) == (False, {"playing"})


def test_a_widget_that_came_anew_repeats_the_page() -> None:
    seen: dict[str, Any] = {}
    _scrubbed(message(), said(step=(5, 20), playing=(6, True)), seen)
    assert _scrubbed(message(shown=40, live=False), {"step": None}, seen) == ScrubberEvent(
        40, False, False, frozenset()
    )
