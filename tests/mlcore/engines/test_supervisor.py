"""The supervisor starts what waits, in order, and tells the end of what died; with workers that only pretend."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from patience import PATIENCE_S, until
from ulid import ULID

from mlcore.disk.process import boot_id, host_name, pid_space, start_time
from mlcore.engines import supervisor as module
from mlcore.engines.attempt_runner import FAILED, NO_ROOM, NOT_MINE, Session, Superseded
from mlcore.engines.supervisor import Supervisor
from mlcore.runs.queue import Queue
from mlcore.runs.queue_numbers import next_number
from mlcore.runs.states import RunState


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
    return {"pid": pid, "pid_start": start_time(pid), "boot_id": boot or boot_id(), "host": host_name()}


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


FAR = {"host": "lab-2", "boot_id": "another boot", "pid_space": ""}


def test_a_silent_run_of_another_machine_can_be_stopped_here_and_is_lost_in_time(runs, quick_spec, supervisor):
    stopped, left = (going(runs.create(quick_spec), 4321, **FAR) for _ in range(2))
    stopped.stop()
    supervisor.tick(0.0)
    supervisor.tick(module.FAR_SILENT_S - 1)
    assert [run.stored_status().state for run in (stopped, left)] == [RunState.RUNNING] * 2
    with pytest.raises(ValueError, match="running on another machine, lab-2"):
        runs.delete(left.run_id)
    supervisor.tick(module.FAR_SILENT_S + 1)
    assert (stopped.stored_status().state, stopped.stored_status().reason_code) == (RunState.LOST, "unheard")
    assert "another machine, lab-2; nothing was heard of it for 41 s" in stopped.stored_status().reason_text
    assert left.stored_status().state == RunState.RUNNING
    assert left.other_machine() == "lab-2"
    supervisor.tick(module.FAR_LOST_S + 1)
    assert (left.stored_status().state, left.stored_status().reason_code) == (RunState.LOST, "unheard")
    left.resume()
    assert (left.stored_status().state, left.stored_status().attempt, left.other_machine()) == (RunState.QUEUED, 2, "")


@pytest.mark.parametrize("sign", ["heartbeat", "status"])
def test_a_run_that_lives_on_another_machine_is_never_taken_over(runs, quick_spec, supervisor, sign):
    run = going(runs.create(quick_spec), dead_pid(), **FAR)
    run.stop()
    writer = run.attempts()[0].writer()
    for now in range(0, 2000, 35):
        if sign == "heartbeat":
            writer.beat()
        else:
            run.write_status(run.stored_status())
        supervisor.tick(float(now))
        assert run.stored_status().state == RunState.RUNNING
    writer.close()


def test_a_worker_that_was_taken_for_dead_elsewhere_does_not_write_the_run_s_status_again(runs, quick_spec, supervisor):
    run = going(runs.create(quick_spec), 4321, **FAR)
    far = Session(run, run.attempts()[0], None)
    supervisor.tick(0.0)
    supervisor.tick(module.FAR_LOST_S + 1)
    with pytest.raises(Superseded):
        far.put_status(step=7)
    run.resume()
    with pytest.raises(Superseded):
        far.put_status(step=7)
    assert run.stored_status().step == 0


def test_a_machine_that_was_renamed_knows_its_own_runs(runs, quick_spec, supervisor, process, monkeypatch):
    alive = going(runs.create(quick_spec), process().pid, pid_space=pid_space())
    dead = going(runs.create(quick_spec), dead_pid(), pid_space=pid_space())
    monkeypatch.setattr("mlcore.disk.process.host_name", lambda: "renamed")
    supervisor.tick(0.0)
    assert [run.stored_status().state for run in (alive, dead)] == [RunState.RUNNING, RunState.LOST]


def test_a_container_on_this_machine_is_another_machine(runs, quick_spec, supervisor):
    run = going(runs.create(quick_spec), dead_pid(), host="box", pid_space="pid:[1]")
    supervisor.tick(0.0)
    assert (run.stored_status().state, run.other_machine()) == (RunState.RUNNING, "box")


def claimed(run, claim):
    """The run as one that a worker has claimed and not yet begun."""
    run.begin_attempt()
    (run.attempt_path(1) / "claim.json").write_text(json.dumps(claim))
    return run


def test_a_run_that_was_claimed_elsewhere_is_not_given_to_workers_here_and_lost_in_time(runs, quick_spec, supervisor):
    run = claimed(runs.create(quick_spec), {"pid": 1, "pid_start": 1.0, **FAR})
    for now in (0.0, 1.0, module.FAR_LOST_S - 1):
        supervisor.tick(now)
    assert (supervisor.engine.submitted, run.stored_status().state) == ([], RunState.QUEUED)
    supervisor.tick(module.FAR_LOST_S + 1)
    assert (run.stored_status().state, run.stored_status().reason_code) == (RunState.LOST, "unheard")


@pytest.mark.parametrize("claim", [None, [], {}, {"pid": 1}, {"pid": "1", "host": "x", "boot_id": "y"}])
def test_a_claim_that_says_nothing_ends_the_attempt_and_not_the_queue(runs, quick_spec, supervisor, claim):
    run = claimed(runs.create(quick_spec), claim)
    other = runs.create(quick_spec)
    supervisor.tick(0.0)
    assert (run.stored_status().state, run.stored_status().reason_code) == (RunState.LOST, "claim_unreadable")
    assert supervisor.engine.submitted == [other.run_id]
    run.resume()
    supervisor.engine.slots = 2
    supervisor.tick(1.0)
    assert supervisor.engine.submitted == [other.run_id, run.run_id]


def test_the_queue_waits_while_the_disk_is_full_says_why_and_goes_on_by_itself(
    runs, quick_spec, supervisor, monkeypatch
):
    free = [10 * 2**20]
    monkeypatch.setattr(runs, "free_bytes", lambda: free[0])
    run = runs.create(quick_spec)
    fault = supervisor.tick(0.0)
    assert "is full (10 MB free)" in fault
    assert "as soon as 64 MB are free" in fault
    assert runs.read_helper_status("supervisor")["waits"] == supervisor.waits != ""
    assert (supervisor.engine.submitted, run.stored_status().state) == ([], RunState.QUEUED)
    free[0] = 65 * 2**20
    assert supervisor.tick(1.0) == ""
    assert supervisor.engine.submitted == [run.run_id]
    assert runs.read_helper_status("supervisor")["waits"] == ""


def test_after_a_run_that_filled_the_disk_the_next_waits_until_there_is_more_room(
    runs, quick_spec, supervisor, monkeypatch
):
    free = [100 * 2**20]
    monkeypatch.setattr(runs, "free_bytes", lambda: free[0])
    first, second = runs.create(quick_spec), runs.create(quick_spec)
    supervisor.tick(0.0)
    going(first, dead_pid()).move(RunState.FAILED, reason_code="disk_full")
    supervisor.engine.gone = {first.run_id: 1}
    supervisor.tick(1.0)
    assert supervisor.engine.submitted == [first.run_id]
    assert "164 MB" in supervisor.waits
    free[0] = 200 * 2**20
    supervisor.tick(2.0)
    assert supervisor.engine.submitted == [first.run_id, second.run_id]


def test_a_run_whose_worker_found_no_room_to_begin_waits_on(runs, quick_spec, supervisor):
    run = runs.create(quick_spec)
    supervisor.tick(0.0)
    supervisor.engine.gone = {run.run_id: NO_ROOM}
    supervisor.engine.exited, ended_once = lambda: {run.run_id: NO_ROOM}, supervisor.engine.exited
    supervisor.tick(1.0)
    assert run.stored_status().state == RunState.QUEUED
    supervisor.engine.exited = ended_once


def test_the_clock_does_not_change_the_order_of_the_queue(runs, quick_spec, monkeypatch):
    made = []
    for year in (2026, 2025, 2025, 1999, 2031, 2025):
        now = datetime(year, 1, 1, tzinfo=UTC)
        monkeypatch.setattr("mlcore.runs.folder.utc_now", now.isoformat)
        monkeypatch.setattr("mlcore.runs.folder.ULID", lambda now=now: ULID.from_datetime(now))
        made.append(runs.create(quick_spec))
    assert [entry.run.run_id for entry in Queue(runs).waiting()] == [run.run_id for run in made]
    made[0].move(RunState.CANCELLED)
    made[0].resume()
    assert Queue(runs).position(made[0].run_id) == 5


def test_who_loses_the_counter_of_the_queue_still_comes_last(runs, quick_spec):
    first = runs.create(quick_spec)
    (runs.root / ".queue.json").write_text("{")
    second = runs.create(quick_spec)
    (runs.root / ".queue.json").unlink()
    third = runs.create(quick_spec)
    assert [run.stored_status().number for run in (first, second, third)] == [1, 2, 3]


def test_many_who_queue_at_once_get_numbers_of_their_own(runs):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: next_number(runs.root), range(40)))
    assert sorted(numbers) == list(range(1, 41))


class Process:
    """A projector that a test ends."""

    def __init__(self, pid):
        self.pid, self.returncode, self.stdin = pid, None, io.BytesIO()

    def poll(self):
        return self.returncode


@pytest.fixture
def projectors(runs, supervisor, monkeypatch):
    """Every projector that the supervisor starts, on a clock of the test's own."""
    started, clock = [], [100.0]

    def start(*_, **__):
        started.append(Process(10_000 + len(started)))
        return started[-1]

    monkeypatch.setattr(module, "start_process", start)
    monkeypatch.setattr("mlcore.engines.local.time.monotonic", lambda: clock[0])
    supervisor.with_projector = True
    supervisor.clock = clock
    yield started
    supervisor.projector = None


def test_a_projector_that_was_ready_is_replaced_at_once_however_often_it_is_killed(runs, supervisor, projectors):
    for count in range(1, 31):
        supervisor.tick(supervisor.clock[0])
        assert len(projectors) == count
        runs.publish("projector", {"pid": projectors[-1].pid, "ready": True, "host": "", "boot_id": ""})
        projectors[-1].returncode = -9
        supervisor.clock[0] += 0.5
    supervisor.tick(supervisor.clock[0])
    assert "was ended (SIGKILL) and is being started again" in runs.read_helper_status("projector")["trouble"]


def test_a_projector_that_is_killed_again_and_again_before_it_is_ready_comes_back_within_seconds(
    runs, supervisor, projectors
):
    waits = []
    for count in range(1, 21):
        began = supervisor.clock[0]
        while len(projectors) < count:
            supervisor.tick(supervisor.clock[0])
            supervisor.clock[0] += 0.5
        waits.append(supervisor.clock[0] - began)
        projectors[-1].returncode = -15
    assert max(waits) <= 10.5
    supervisor.tick(supervisor.clock[0])
    told = runs.read_helper_status("projector")["trouble"]
    assert "20 times before it was ready (last: SIGTERM)" in told
    assert "within 10 s" in told


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
        (-15, RunState.CANCELLED, "terminated", "from outside (SIGTERM)"),
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
    status = run.stored_status()
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
    assert (run.state, run.stored_status().reason_code) == (RunState.FAILED, "worker_killed")


def test_a_run_whose_claimant_died_is_lost_and_its_slot_is_free(runs, quick_spec, supervisor, monkeypatch):
    run, other = runs.create(quick_spec), runs.create(quick_spec)
    gone = named(dead_pid()) | {"pid_start": 1.0}
    with monkeypatch.context() as patch:
        patch.setattr("mlcore.runs.folder.process_identity", lambda: gone)
        run.begin_attempt()
    supervisor.tick(0.0)
    assert (run.stored_status().state, run.stored_status().reason_code) == (RunState.LOST, "worker_gone")
    supervisor.tick(1.0)
    assert supervisor.engine.submitted[-1] == other.run_id


def test_a_worker_that_is_gone_unseen_is_lost(runs, quick_spec, supervisor):
    run = going(runs.create(quick_spec), dead_pid())
    supervisor.tick(0.0)
    assert (run.stored_status().state, run.stored_status().reason_code) == (RunState.LOST, "worker_gone")
    assert run.state.resumable


def test_another_process_with_the_same_number_is_not_the_worker(runs, quick_spec, supervisor, process):
    worker = process()
    run = going(runs.create(quick_spec), worker.pid, pid_start=start_time(worker.pid) - 100)
    supervisor.tick(0.0)
    assert run.stored_status().state == RunState.LOST
    assert worker.poll() is None


def test_after_a_restart_of_the_machine_what_went_on_is_lost(runs, quick_spec, supervisor, process):
    run = going(runs.create(quick_spec), process().pid, boot_id="another boot")
    supervisor.tick(0.0)
    assert (run.stored_status().state, run.stored_status().reason_code) == (RunState.LOST, "machine_restarted")
    assert "restarted" in run.stored_status().reason_text


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
    assert worker.wait(PATIENCE_S) == -9
    assert (run.state, run.stored_status().reason_code) == (RunState.FAILED, "stalled")


def test_silence_is_measured_by_our_own_clock(runs, quick_spec, supervisor, process):
    run = going(runs.create(quick_spec), process().pid)
    assert supervisor.silent_for(run.run_id) == 0.0
    supervisor.tick(time.monotonic() - 40)
    assert supervisor.silent_for(run.run_id) > 39


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
    assert worker.wait(PATIENCE_S) == -9
    supervisor.engine.gone = {run.run_id: -9}
    supervisor.tick(20.0)
    assert run.state == RunState.CANCELLED


def test_one_runs_fault_does_not_keep_the_others_from_starting(runs, quick_spec, supervisor, monkeypatch):
    broken = going(runs.create(quick_spec), dead_pid())
    waiting = runs.create(quick_spec)
    mark_ended = supervisor.mark_ended

    def refuse(run, end):
        if run.run_id == broken.run_id:
            raise OSError(28, "No space left on device")
        mark_ended(run, end)

    monkeypatch.setattr(supervisor, "mark_ended", refuse)
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
    until(lambda: supervisor.wake() or len(ticks) >= 3)
    assert "a bug of ours" in supervisor.fault
    assert capsys.readouterr().err.count("Traceback") == 1


def test_a_second_supervisor_is_passive_until_the_first_is_gone(runs, quick_spec, supervisor):
    supervisor.tick(0.0)
    second = Supervisor(runs, projector=False)
    second.engine = type(supervisor.engine)()
    run = runs.create(quick_spec)
    second.tick(0.0)
    assert supervisor.in_charge
    assert not second.in_charge
    assert second.engine.submitted == []
    assert runs.read_helper_status("supervisor")["alive"]
    supervisor.close()
    assert not runs.read_helper_status("supervisor")["alive"]
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
    supervisor.tick(99.9 + module.FIRST_PAGE_S)
    assert supervisor.engine.prepared == 0
    supervisor.tick(100.1 + module.FIRST_PAGE_S)
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
