"""What all sessions of a server share: each reads something that does not change under it."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import streamlit as st
from image_files import classes, image_bytes, picture, tree
from page_widgets import widget
from whole_records import evaluated_event, step_event

from app.data.browse import image_hashes, make_atlas, most_like
from app.data.plan_store import Sources, near_duplicate_table, plan_statistics, prepare_index, read_index
from app.runs.runs_table import RunsTable
from app.shared import figures
from app.shared.preview_viewers import FORGOTTEN_S, PreviewViewers
from mlcore.data.importing import import_path
from mlcore.data.prepare import Plan
from mlcore.data.store import find_set, read_set
from mlcore.disk.process import process_identity
from mlcore.engines.supervisor import Supervisor
from mlcore.runs.history import History
from mlcore.runs.queue import Queue
from mlcore.runs.states import RunState
from mlcore.runs.unreadable_folders import OddFolders
from mlcore.timm_zoo.model_table import find_model, join_tables, network_list, search

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


@pytest.fixture
def switching():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def all_at_once(look: Callable[[], object], change: Callable[[], None] = lambda: None) -> None:
    """Several threads look at the same moment while one changes what they look at; a fault in one fails here."""
    together = threading.Barrier(WATCHERS + 1)

    def begin(act: Callable[[], object]) -> None:
        together.wait()
        act()

    with ThreadPoolExecutor(WATCHERS + 1) as pool:
        for found in [pool.submit(begin, act) for act in [change, *[look] * WATCHERS]]:
            found.result()


def crowd_that_is_gone(runs, ended, read: Callable[[], object]) -> None:
    """Many runs that have been read, and were deleted since."""
    names = [f"01arz3ndektsv4rrffq69g5{number:03d}" for number in range(300)]
    for name in names:
        (runs.root / name).mkdir()
        shutil.copy(ended.path / "status.json", runs.root / name)
    read()
    for name in names:
        shutil.rmtree(runs.root / name)


def all_go_on_together(act: Callable[..., object]) -> Callable[..., object]:
    """`act`, after whose first calls all threads wait for each other."""
    together, calls = threading.Barrier(WATCHERS), itertools.count(1)

    def acted(*arguments: object, **named: object) -> object:
        result = act(*arguments, **named)
        if next(calls) <= WATCHERS:
            together.wait()
        return result

    return acted


def test_the_queue_is_whole_for_everybody_when_many_runs_have_gone(runs, quick_spec, switching, monkeypatch):
    waiting = [runs.create(quick_spec).run_id for _ in range(3)]
    ended, queue = runs.create(quick_spec), Queue(runs)
    ended.move(RunState.CANCELLED)
    crowd_that_is_gone(runs, ended, queue.waiting)
    monkeypatch.setattr(runs, "ids", all_go_on_together(runs.ids))

    def look() -> None:
        assert [entry.run.run_id for entry in queue.waiting()] == waiting

    all_at_once(look)
    monkeypatch.undo()
    assert queue.position(waiting[2]) == 2


def test_odd_folders_are_told_to_everybody_when_many_runs_have_gone(runs, quick_spec, switching, monkeypatch):
    ended, odd = runs.create(quick_spec), OddFolders(runs)
    ended.move(RunState.CANCELLED)
    (runs.root / "01arz3ndektsv4rrffq69g5fav").mkdir()
    crowd_that_is_gone(runs, ended, odd.read)
    monkeypatch.setattr("mlcore.runs.unreadable_folders.sorted", all_go_on_together(sorted), raising=False)

    def look() -> None:
        assert [found.name for found in odd.read()] == ["01arz3ndektsv4rrffq69g5fav"]

    all_at_once(look)


def test_pages_read_the_supervisor_while_it_looks_after_runs(runs, quick_spec, switching):
    supervisor = Supervisor(runs, slots=1, projector=False)

    def come_and_go() -> None:
        for _ in range(5):
            run = runs.create(quick_spec)
            run.move(RunState.STARTING, **process_identity())
            supervisor.tick(time.monotonic())
            run.move(RunState.FAILED)
            supervisor.tick(time.monotonic())
            runs.delete(run.run_id)

    def look() -> None:
        for _ in range(20):
            supervisor.wake()
            assert isinstance(supervisor.fault, str)
            assert isinstance(supervisor.waits, str)
            assert all(supervisor.silent_for(run_id) >= 0 for run_id in runs.ids())

    try:
        all_at_once(look, come_and_go)
        assert supervisor.tick(time.monotonic()) == ""
    finally:
        supervisor.close()


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An imported set of six classes of four, one image twice."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    st.cache_resource.clear()
    folder = classes(tmp_path / "shop", 6)
    tree(folder, {"c0/again.png": image_bytes(picture(0))})
    yield find_set(import_path(folder).name)
    st.cache_resource.clear()


def test_plans_of_several_sessions_start_from_one_table_that_none_changes(shop, switching):
    sources, stamps = Sources((shop.id,)), (shop.fingerprint,)
    before = read_index(sources, stamps).copy(deep=True)
    steps = [
        {"step": "duplicates", "distance": 6},
        {"step": "counts", "fewest": 2, "most": 3, "undersample": True},
        {"step": "split_classes", "held_out": 0.5, "seed": 0},
        {"step": "folds", "count": 2, "by": "class", "seed": 0},
    ]
    plans = [json.dumps({"steps": steps[:number]}) for number in range(1, len(steps) + 1)]
    alone = {plan: Plan.from_text(plan).apply(before)[0] for plan in plans}

    def look() -> None:
        for plan in plans:
            same_as_alone(plan)

    def same_as_alone(plan: str) -> None:
        # assert_frame_equal changes the filters of warnings for all threads, so that another thread's warning may fail.
        assert prepare_index(sources, stamps, plan)[0].equals(alone[plan])
        assert plan_statistics(sources, stamps, plan).images == len(alone[plan])
        near_duplicate_table(sources, stamps, plan, 6)

    def forget() -> None:
        for kept in (prepare_index, plan_statistics, near_duplicate_table):
            kept.clear()

    all_at_once(look, forget)
    pd.testing.assert_frame_equal(read_index(sources, stamps), before)


def test_pictures_and_likeness_are_the_same_for_everybody_who_browses(shop, switching):
    rows = [tuple(range(start, start + 4)) for start in range(8)]
    pictures = [make_atlas(shop.id, shop.fingerprint, wanted).data for wanted in rows]
    likest = [most_like(shop.id, shop.fingerprint, row) for row in range(8)]

    def look() -> None:
        for number in range(8):
            assert make_atlas(shop.id, shop.fingerprint, rows[number]).data == pictures[number]
            assert most_like(shop.id, shop.fingerprint, number) == likest[number]

    def forget() -> None:
        for kept in (make_atlas, most_like, image_hashes):
            kept.clear()
        read_set.cache_clear()

    all_at_once(look, forget)


def test_the_list_of_networks_is_the_same_for_everybody_who_searches(monkeypatch, switching):
    monkeypatch.setattr("mlcore.timm_zoo.model_table.cached_repositories", set)
    before = network_list().copy(deep=True)

    def look() -> None:
        listed = network_list()
        assert "resnet18" in search(listed, "resnet 18").rows.index
        assert find_model("resnet18")["name"] == "resnet18"
        listed["weights"] = "mine"  # what one session does with its list is its own affair

    all_at_once(look, join_tables.cache_clear)
    pd.testing.assert_frame_equal(network_list(), before)


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
    preview_viewers = PreviewViewers(lambda: now[0])
    for session in ("a", "b", "c"):
        preview_viewers.add(session, "preview")
    assert not preview_viewers.remove("a", "preview")
    now[0] = FORGOTTEN_S + 1
    preview_viewers.add("b", "preview")
    assert preview_viewers.remove("b", "preview")
    assert preview_viewers.remove("b", "preview")


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
