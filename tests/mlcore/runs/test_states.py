"""States only move forward, and a finished run goes on only as its next attempt."""

import pytest

from mlcore.runs.states import FINISHED, MOVES, RunState, may_move


def test_every_state_says_where_it_may_go():
    assert set(MOVES) == set(RunState)


@pytest.mark.parametrize("state", sorted(FINISHED))
def test_a_finished_run_does_not_change_within_its_attempt(state):
    assert not any(may_move(state, other, next_attempt=False) for other in RunState if other != state)


def test_a_done_run_has_no_next_attempt():
    assert not any(may_move(RunState.DONE, other, next_attempt=True) for other in RunState)


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.FAILED, RunState.LOST])
def test_a_run_that_ended_early_may_be_queued_again(state):
    assert state.resumable
    assert may_move(state, RunState.QUEUED, next_attempt=True)


def test_a_running_run_never_goes_back_to_the_queue():
    assert not may_move(RunState.RUNNING, RunState.QUEUED, next_attempt=False)


def test_from_every_unfinished_state_an_end_can_be_reached():
    for state in set(RunState) - FINISHED:
        reached, frontier = set(), {state}
        while frontier:
            reached |= frontier
            frontier = {after for before in frontier for after in MOVES[before] if not before.finished} - reached
        assert reached & FINISHED
