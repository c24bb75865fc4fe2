"""The supervisor starts what waits, in order, and tells the end of what died; with workers that only pretend."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from mlcore.engines import supervisor as module
from mlcore.engines.supervisor import Supervisor
from mlcore.runs.process import boot_id, host, start_time
from mlcore.runs.queue import Queue
from mlcore.runs.states import RunState
from mlcore.session import FAILED, NO_ROOM, NOT_MINE


class Engine:
    """Notes what it is asked to start; a test says what has ended."""

    def __init__(self, slots=1):
        self.slots = slots
        self.submitted = []
        self.children = {}
        self.gone = {}
        self.prepared = 0

    def submit(self, run):
        self.submitted.append(run.run_id)
        self.children[run.run_id] = None

    def exited(self):
        gone, self.gone = self.gone, {}
        for run_id in gone:
            self.children.pop(run_id, None)
        return gone

    def keep_ready(self):
        self.prepared += 1

    def close(self):
        pass


@pytest.fixture
def supervisor(runs):
    made = Supervisor(runs, projector=False)
    made.engine = Engine()
    made.began = 0.0
    yield made
    made.close()


@pytest.fixture
def process():
    """Starts processes that stand for workers, and ends those that are left."""
    started = []

    def start(code="import time; print(flush=True); time.sleep(60)"):
        worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        worker.stdout.readline()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()
        worker.stdout.close()


def named(pid, boot=None):
    return {"pid": pid, "pid_start": start_time(pid), "boot_id": boot or boot_id(), "host": host()}


def going(run, pid, **changes):
    """The run as its worker `pid` would have it."""
    run.begin_attempt()
    run.move(RunState.STARTING, **named(pid) | changes)
    run.move(RunState.RUNNING)
    return run


def dead_pid():
    worker = subprocess.Popen([sys.executable, "-c", ""])
    worker.wait()
    return worker.pid


def test_runs_start_in_the_order_in_which_they_were_queued(runs, quick_spec, supervisor):
    first, second, third = (runs.create(quick_spec) for _ in range(3))
    supervisor.tick(0.0)
    assert supervisor.engine.submitted == [first.run_id]
    queue = Queue(runs)
    assert [queue.position(run.run_id) for run in (first, second, third)] == [0, 1, 2]
    first.move(RunState.STARTING)
    first.move(RunState.DONE)
    supervisor.engine.gone = {first.run_id: 0}
    supervisor.tick(1.0)
    assert supervisor.engine.submitted == [first.run_id, second.run_id]
    assert queue.position(third.run_id) == 1


def test_a_resumed_run_queues_behind_those_that_waited(runs, quick_spec, supervisor):
    old, waiting = runs.create(quick_spec), runs.create(quick_spec)
    old.move(RunState.CANCELLED)
    old.resume()
    supervisor.tick(0.0)
    assert supervisor.engine.submitted == [waiting.run_id]


def test_no_more_runs_go_on_than_there_are_slots(runs, quick_spec, supervisor, process):
    supervisor.engine.slots = 2
    going(runs.create(quick_spec), process().pid)
    waiting = [runs.create(quick_spec) for _ in range(3)]
    for now in range(3):
        supervisor.tick(float(now))
    assert supervisor.engine.submitted == [waiting[0].run_id]


def test_previews_have_a_slot_of_their_own(runs, quick_spec, supervisor):
    run = runs.create(quick_spec)
    previews = [runs.create(quick_spec, purpose="preview") for _ in range(2)]
    supervisor.tick(0.0)
    assert supervisor.engine.submitted == [run.run_id, previews[0].run_id]
    assert Queue(runs).position(previews[1].run_id) is None


def test_a_draft_takes_no_slot_and_is_not_touched(runs, quick_spec, supervisor):
    draft = runs.create(quick_spec, state=RunState.DRAFT)
    run = runs.create(quick_spec)
    assert supervisor.tick(0.0) == ""
    assert supervisor.engine.submitted == [run.run_id]
    assert draft.state == RunState.DRAFT


def test_a_run_of_another_machine_takes_no_slot_and_is_left_alone(runs, quick_spec, supervisor):
    far = going(runs.create(quick_spec), dead_pid(), host="elsewhere")
    near = runs.create(quick_spec)
    supervisor.tick(0.0)
    assert supervisor.engine.submitted == [near.run_id]
    assert far.state == RunState.RUNNING


def test_a_waiting_run_that_is_called_off_never_starts(runs, quick_spec, supervisor):
    run = runs.create(quick_spec)
    run.stop()
    supervisor.tick(0.0)
    assert run.state == RunState.CANCELLED
    assert "before it began" in run.status().reason_text
    assert supervisor.engine.submitted == []


def test_a_run_given_to_a_worker_is_not_given_twice(runs, quick_spec, supervisor):
    run = runs.create(quick_spec)
    for now in range(3):
        supervisor.tick(float(now))
    assert supervisor.engine.submitted == [run.run_id]


@pytest.mark.parametrize(
    ("code", "state", "reason", "words"),
    [
        (-9, RunState.FAILED, "worker_killed", "SIGKILL), probably because memory ran out. It can be resumed"),
        (-11, RunState.FAILED, "worker_killed", "SIGSEGV"),
        (FAILED, RunState.FAILED, "worker_failed", "log has the details"),
        (NO_ROOM, RunState.FAILED, "disk_full", "is full"),
    ],
)
def test_a_worker_that_ended_without_a_word_is_spoken_for(runs, quick_spec, supervisor, code, state, reason, words):
    run = runs.create(quick_spec)
    supervisor.tick(0.0)
    going(run, dead_pid())
    supervisor.engine.gone = {run.run_id: code}
    supervisor.tick(1.0)
    status = run.stored()
    assert (status.state, status.reason_code) == (state, reason)
    assert words in status.reason_text


def test_a_worker_that_died_while_it_was_to_stop_has_stopped(runs, quick_spec, supervisor):
    run = going(runs.create(quick_spec), dead_pid())
    run.stop()
    supervisor.engine.children = {run.run_id: None}
    supervisor.engine.gone = {run.run_id: -9}
    supervisor.tick(0.0)
    assert run.state == RunState.CANCELLED


def test_a_worker_that_found_the_run_taken_changes_nothing(runs, quick_spec, supervisor, process):
    run = going(runs.create(quick_spec), process().pid)
    supervisor.engine.gone = {run.run_id: NOT_MINE}
    supervisor.tick(0.0)
    assert run.state == RunState.RUNNING


def test_a_worker_that_died_before_it_took_up_the_run_is_replaced_but_not_for_ever(runs, quick_spec, supervisor):
    run = runs.create(quick_spec)
    for now in range(5):
        supervisor.tick(float(now))
        supervisor.engine.gone = {run.run_id: -9}
    assert supervisor.engine.submitted == [run.run_id] * 3
    assert (run.state, run.stored().reason_code) == (RunState.FAILED, "worker_killed")


def test_a_run_whose_claimant_died_is_lost_and_its_slot_is_free(runs, quick_spec, supervisor, monkeypatch):
    run, other = runs.create(quick_spec), runs.create(quick_spec)
    gone = named(dead_pid()) | {"pid_start": 1.0}
    with monkeypatch.context() as patch:
        patch.setattr("mlcore.runs.folder.identity", lambda: gone)
        run.begin_attempt()
    supervisor.tick(0.0)
    assert (run.stored().state, run.stored().reason_code) == (RunState.LOST, "worker_gone")
    supervisor.tick(1.0)
    assert supervisor.engine.submitted[-1] == other.run_id


def test_a_worker_that_is_gone_unseen_is_lost(runs, quick_spec, supervisor):
    run = going(runs.create(quick_spec), dead_pid())
    supervisor.tick(0.0)
    assert (run.stored().state, run.stored().reason_code) == (RunState.LOST, "worker_gone")
    assert run.state.resumable


def test_another_process_with_the_same_number_is_not_the_worker(runs, quick_spec, supervisor, process):
    worker = process()
    run = going(runs.create(quick_spec), worker.pid, pid_start=start_time(worker.pid) - 100)
    supervisor.tick(0.0)
    assert run.stored().state == RunState.LOST
    assert worker.poll() is None


def test_after_a_restart_of_the_machine_what_went_on_is_lost(runs, quick_spec, supervisor, process):
    run = going(runs.create(quick_spec), process().pid, boot_id="another boot")
    supervisor.tick(0.0)
    assert (run.stored().state, run.stored().reason_code) == (RunState.LOST, "machine_restarted")
    assert "restarted" in run.stored().reason_text


def test_a_worker_whose_heart_stands_still_is_ended_as_stalled(runs, quick_spec, supervisor, process):
    worker = process()
    run = going(runs.create(quick_spec), worker.pid)
    writer = run.attempts()[0].writer()
    writer.beat()
    supervisor.tick(0.0)
    supervisor.tick(module.STALLED_S - 1)
    assert run.state == RunState.RUNNING
    writer.beat()
    writer.close()
    supervisor.tick(module.STALLED_S + 1)
    supervisor.tick(2 * module.STALLED_S)
    assert run.state == RunState.RUNNING
    supervisor.tick(2 * module.STALLED_S + 2)
    assert worker.wait(10) == -9
    assert (run.state, run.stored().reason_code) == (RunState.FAILED, "stalled")


def test_silence_is_measured_by_our_own_clock(runs, quick_spec, supervisor, process):
    run = going(runs.create(quick_spec), process().pid)
    assert supervisor.silent_for(run.run_id) == 0.0
    supervisor.tick(time.monotonic() - 40)
    assert 39 < supervisor.silent_for(run.run_id) < 60


def test_a_worker_that_does_not_obey_is_told_and_then_made_to(runs, quick_spec, supervisor, process):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True)); print(flush=True)"
    worker = process(f"{deaf}\nwhile True: time.sleep(1)")
    run = going(runs.create(quick_spec), worker.pid)
    supervisor.engine.children = {run.run_id: None}
    run.stop()
    supervisor.tick(10.0)
    supervisor.tick(10.0 + module.CANCEL_TERM_S - 0.1)
    assert worker.poll() is None
    supervisor.tick(10.0 + module.CANCEL_TERM_S + 0.1)
    assert worker.stdout.readline() == b"told\n"
    supervisor.tick(10.0 + module.CANCEL_KILL_S + 0.1)
    assert worker.wait(10) == -9
    supervisor.engine.gone = {run.run_id: -9}
    supervisor.tick(20.0)
    assert run.state == RunState.CANCELLED


def test_one_runs_fault_does_not_keep_the_others_from_starting(runs, quick_spec, supervisor, monkeypatch):
    broken = going(runs.create(quick_spec), dead_pid())
    waiting = runs.create(quick_spec)
    bury = supervisor.bury

    def refuse(run, end):
        if run.run_id == broken.run_id:
            raise OSError(28, "No space left on device")
        bury(run, end)

    monkeypatch.setattr(supervisor, "bury", refuse)
    supervisor.engine.slots = 2
    assert "No space left" in supervisor.tick(0.0)
    assert supervisor.engine.submitted == [waiting.run_id]


def test_the_thread_survives_whatever_a_tick_does(runs, quick_spec, supervisor, monkeypatch, capsys):
    ticks = []

    def fail(now):
        ticks.append(now)
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(supervisor, "tick", fail)
    supervisor.start()
    deadline = time.monotonic() + 10
    while len(ticks) < 3 and time.monotonic() < deadline:
        supervisor.wake()
        time.sleep(0.01)
    assert "a bug of ours" in supervisor.fault
    assert capsys.readouterr().err.count("Traceback") == 1


def test_a_second_supervisor_is_passive_until_the_first_is_gone(runs, quick_spec, supervisor):
    supervisor.tick(0.0)
    second = Supervisor(runs, projector=False)
    second.engine = Engine()
    run = runs.create(quick_spec)
    second.tick(0.0)
    assert supervisor.in_charge
    assert not second.in_charge
    assert second.engine.submitted == []
    assert runs.heard("supervisor")["alive"]
    supervisor.close()
    assert not runs.heard("supervisor")["alive"]
    second.tick(1.0)
    assert second.in_charge
    assert second.engine.submitted == [run.run_id]
    second.close()


def test_what_was_left_of_a_run_that_was_never_made_is_swept_in_time(runs, supervisor):
    (runs.root / ".making-x").mkdir()
    supervisor.tick(0.0)
    assert (runs.root / ".making-x").exists()
    runs.sweep_unmade(older_than_s=0.0)
    assert not (runs.root / ".making-x").exists()


def test_the_next_standby_worker_does_not_get_in_the_way_of_a_run_that_has_just_begun(
    runs, quick_spec, supervisor, process
):
    run = runs.create(quick_spec)
    supervisor.tick(100.0)
    going(run, process().pid)
    supervisor.tick(101.0)
    assert supervisor.engine.prepared == 0
    supervisor.tick(100.0 + module.SETTLED_S)
    assert supervisor.engine.prepared == 1


def test_nothing_is_prepared_while_the_first_page_is_being_drawn(runs, supervisor):
    supervisor.began = None
    supervisor.tick(100.0)
    supervisor.tick(99.9 + module.AT_EASE_S)
    assert supervisor.engine.prepared == 0
    supervisor.tick(100.1 + module.AT_EASE_S)
    assert supervisor.engine.prepared == 1


def test_the_next_standby_worker_is_made_as_soon_as_a_slot_is_free(runs, quick_spec, supervisor):
    supervisor.engine.slots = 2
    run = runs.create(quick_spec)
    supervisor.tick(100.0)
    assert supervisor.engine.prepared == 1
    supervisor.engine.slots = 1
    supervisor.tick(100.1)
    assert supervisor.engine.prepared == 1
    run.move(RunState.STARTING)
    run.move(RunState.DONE)
    supervisor.engine.gone = {run.run_id: 0}
    supervisor.tick(100.2)
    assert supervisor.engine.prepared == 2
