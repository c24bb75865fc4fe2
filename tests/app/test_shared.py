"""What all sessions of a server share: each reads something that does not change under it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from page_widgets import widget
from whole_records import evaluated_event, step_event

from app import figures
from app.onlookers import FORGOTTEN_S, Onlookers
from app.runs_table import RunsTable
from mlcore.runs.history import History
from mlcore.runs.states import RunState

WATCHERS = 8
STEPS = 3000


def test_watchers_of_a_growing_run_each_draw_a_whole_history(runs, quick_spec):
    run = runs.create(quick_spec)
    writer = run.begin_attempt().writer()
    shared, done = History(run), threading.Event()

    def train() -> None:
        for step in range(1, STEPS + 1):
            writer.event(step_event(step, loss=1.0 / step))
            if step % 100 == 0:
                writer.event(evaluated_event(step))
                writer.event({"kind": "warning", "step": step, "text": "slow"})
        done.set()

    def watch() -> int:
        drawn = 0
        while not (done.is_set() and drawn):
            past = shared.freeze()
            figures.step_figure(
                [e["step"] for e in past.steps], {"loss": [e["loss"] for e in past.steps]}, STEPS, "light"
            )
            assert [e["step"] for e in past.steps] == list(range(1, len(past.steps) + 1))
            assert past.revision == len(past.steps) + len(past.evaluations) + len(past.messages)
            drawn += 1
        return drawn

    with ThreadPoolExecutor(WATCHERS + 1) as pool:
        training = pool.submit(train)
        watching = [pool.submit(watch) for _ in range(WATCHERS)]
        training.result()
        assert all(found.result() for found in watching)
    assert len(shared.freeze().steps) == STEPS


def test_a_frozen_history_stays_as_it_was(runs, quick_spec):
    run = runs.create(quick_spec)
    writer = run.begin_attempt().writer()
    shared = History(run)
    writer.event(step_event(1))
    before = shared.freeze()
    assert shared.freeze() is before
    writer.event(step_event(2))
    assert [event["step"] for event in shared.freeze().steps] == [1, 2]
    assert [event["step"] for event in before.steps] == [1]


def test_the_table_of_runs_is_whole_for_everybody_while_runs_come_and_go(runs, quick_spec):
    for _ in range(4):
        runs.create(quick_spec)
    table, done = RunsTable(runs), threading.Event()

    def look() -> None:
        while not done.is_set():
            assert table.rows()["id"].is_unique

    with ThreadPoolExecutor(WATCHERS) as pool:
        looking = [pool.submit(look) for _ in range(WATCHERS - 1)]
        for _ in range(4):
            runs.delete(runs.create(quick_spec).run_id)
        done.set()
        for found in looking:
            found.result()
    assert len(table.rows()) == 4


def test_name_and_note_that_are_written_at_once_are_both_kept(runs, quick_spec):
    run = runs.create(quick_spec)
    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            pool.submit(run.set_label, name=f"name {number}")
            pool.submit(run.set_label, note=f"note {number}")
    run.set_label(name="last")
    run.set_label(note="words")
    assert (run.label().name, run.label().note) == ("last", "words")


def test_nobody_looks_once_all_have_left_or_gone():
    now = [0.0]
    onlookers = Onlookers(lambda: now[0])
    for session in ("a", "b", "c"):
        onlookers.look(session, "preview")
    assert not onlookers.leave("a", "preview")
    now[0] = FORGOTTEN_S + 1
    onlookers.look("b", "preview")
    assert onlookers.leave("b", "preview")
    assert onlookers.leave("b", "preview")


@pytest.fixture
def preview_of_two(open_page, runs):
    """Two sessions that look at one preview which is still to come."""
    first, second = open_page("lab"), open_page("lab")
    (preview,) = runs.all("preview")
    return first, second, preview


def choose_digits(test) -> None:
    widget(test.selectbox, "lab.set.dataset").select("digits").run()
    assert not test.exception


def test_a_preview_goes_on_while_another_person_waits_for_it(preview_of_two):
    first, second, preview = preview_of_two
    choose_digits(first)
    assert not preview.asked("cancel")
    choose_digits(second)
    assert preview.asked("cancel")


def test_a_preview_that_was_given_up_comes_again_as_often_as_it_is_wanted(open_page, runs):
    test = open_page("lab")
    (preview,) = runs.all("preview")
    for attempt in range(1, 6):
        choose_digits(test)
        assert preview.asked("cancel")
        preview.move(RunState.CANCELLED)
        widget(test.selectbox, "lab.set.dataset").select("glyphs").run()
        assert (preview.state, preview.status().attempt) == (RunState.QUEUED, attempt + 1)
        assert not preview.asked("cancel")


def test_a_preview_that_is_being_given_up_is_kept_by_who_asks_for_it_in_time(open_page, runs):
    test = open_page("lab")
    (preview,) = runs.all("preview")
    choose_digits(test)
    assert preview.asked("cancel")
    widget(test.selectbox, "lab.set.dataset").select("glyphs").run()
    assert not preview.asked("cancel")


def test_a_preview_that_fails_is_tried_again_once_by_each_session(open_page, runs):
    test = open_page("lab")
    (preview,) = runs.all("preview")
    for expected in (RunState.QUEUED, RunState.FAILED):
        preview.move(RunState.STARTING)
        preview.move(RunState.FAILED)
        test.run()
        assert preview.state == expected


def named(test, run, text: str) -> None:
    widget(test.text_input, f"lab.name.{run.run_id}.{test.session_state['lab.session']}").set_value(text).run()


def test_a_name_given_in_one_tab_shows_in_the_other_and_is_not_written_over(open_page, runs, quick_spec):
    run, other = runs.create(quick_spec), runs.create(quick_spec)
    run.set_label(note="keep me")
    first, second = open_page("lab", run=run.run_id), open_page("lab", run=run.run_id)
    named(first, run, "mine")
    second.run()
    assert (run.label().name, run.label().note) == ("mine", "keep me")
    assert [box.value for box in second.text_input if box.label == "Name"] == ["mine"]
    named(second, run, "ours")
    first.run()
    first.run()
    assert run.label().name == "ours"
    assert [box.value for box in first.text_input if box.label == "Name"] == ["ours"]

    first.session_state["lab.view.changes"] = {"run": other.run_id}
    first.run()
    assert [box.value for box in first.text_input if box.label == "Name"] == [""]
    first.run()
    assert (other.label().name, other.label().note) == ("", "")
