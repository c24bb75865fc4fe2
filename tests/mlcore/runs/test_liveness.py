"""A late word of an attempt that was taken for dead changes nothing, and the time of day is no proof of life."""

from __future__ import annotations

import os

import numpy as np
import psutil
import pytest
from whole_records import step_event

from mlcore.disk import process
from mlcore.disk.process import is_alive, process_identity
from mlcore.runs.folder import Runs
from mlcore.runs.history import History
from mlcore.runs.idempotency import Nonces
from mlcore.runs.liveness import true_status
from mlcore.runs.states import RunState


def test_setting_the_clock_does_not_make_a_living_process_another(monkeypatch):
    me = process_identity()
    if process.PROC.joinpath("self/stat").exists():
        monkeypatch.setattr(psutil.Process, "create_time", lambda _: 12345.0)
    assert is_alive(me["pid"], me["pid_start"], me["boot_id"])
    assert not is_alive(me["pid"], me["pid_start"] + 1, me["boot_id"])
    assert not is_alive(me["pid"], me["pid_start"], "another boot")
    assert not is_alive(None, None, me["boot_id"])


def test_while_a_supervisor_lives_the_end_is_left_to_it(runs, quick_spec):
    run = runs.create(quick_spec)
    run.move(RunState.STARTING, **process_identity() | {"pid_start": 1.0})
    assert run.state == RunState.LOST
    runs.publish("supervisor", process_identity())
    assert run.state == RunState.STARTING
    assert true_status(run.path, run.stored_status()) == run.stored_status()


def test_a_supervisor_of_another_machine_is_not_one_of_ours(runs):
    runs.publish("supervisor", process_identity() | {"host": "elsewhere", "boot_id": "another boot"})
    assert not runs.read_helper_status("supervisor")["alive"]


@pytest.mark.parametrize("state", [RunState.DRAFT, RunState.QUEUED])
def test_what_waits_is_not_lost(runs, quick_spec, state):
    assert runs.create(quick_spec, state=state).state == state


def test_what_an_attempt_taken_for_dead_adds_late_does_not_count(runs, quick_spec):
    run = runs.create(quick_spec)
    first = run.begin_attempt().writer()
    for step in (1, 2, 3):
        first.event(step_event(step, attempt=1))
    history = History(run)
    history.refresh()
    run.move(RunState.STARTING)
    run.move(RunState.FAILED)
    run.resume()
    second = run.begin_attempt().writer()
    second.event({"kind": "started", "step": 2, "from_step": 2})
    second.event(step_event(3, attempt=2))
    history.refresh()
    first.event(step_event(4, attempt=1))
    first.snapshot(4, {"embeddings": np.zeros((2, 2))})
    history.refresh()
    assert [(event["step"], event["attempt"]) for event in history.steps] == [(1, 1), (2, 1), (3, 2)]
    assert history.snapshots == {}
    first.close()
    second.close()


def test_a_late_map_of_an_earlier_attempt_is_not_taken_for_one_of_the_next(runs, quick_spec):
    run = runs.create(quick_spec)
    attempt = run.begin_attempt()
    first = attempt.writer()
    first.snapshot(4, {"embeddings": np.zeros((2, 2))})
    history = History(run)
    history.refresh()
    run.move(RunState.STARTING)
    run.move(RunState.FAILED)
    run.resume()
    second = run.begin_attempt().writer()
    second.event({"kind": "started", "step": 2, "from_step": 2})
    second.snapshot(4, {"embeddings": np.ones((2, 2))})
    history.refresh()
    late = attempt.layout_writer()
    late.layout("umap-2d", 4, np.zeros((2, 2)), {}, 0.1)
    history.refresh()
    assert history.layouts == {}
    for writer in (first, second, late):
        writer.close()


def test_a_nonce_whose_run_never_came_goes_to_the_next(tmp_path, quick_spec, monkeypatch):
    monkeypatch.setattr("mlcore.runs.idempotency.PATIENCE_S", 0.05)
    runs = Runs(tmp_path)
    assert Nonces(runs.root).claim("press", "0" * 26) == "0" * 26
    run = runs.create(quick_spec, nonce="press")
    assert runs.create(quick_spec, nonce="press").run_id == run.run_id
    assert os.listdir(runs.root / ".nonces") == ["press"]


def test_a_nonce_of_a_deleted_run_makes_a_new_one(runs, quick_spec):
    run = runs.create(quick_spec, nonce="preview-1")
    runs.delete(run.run_id)
    os.utime(runs.root / ".nonces" / "preview-1", (0, 0))
    assert runs.create(quick_spec, nonce="preview-1").run_id != run.run_id
