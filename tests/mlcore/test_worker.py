"""Real workers under a real supervisor: started, killed, orphaned, adopted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from patience import PATIENCE_S, has_ended, until

from mlcore.disk.process import is_alive
from mlcore.engines.local import Patience, Standby, close_input
from mlcore.engines.supervisor import IDLE_TICK_S, Supervisor
from mlcore.environment import child_environment
from mlcore.runs.folder import Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState

LOOKS = 5  # of a supervisor, after which it must have told
SUPERVISE = """
import sys, time
from mlcore.engines.supervisor import Supervisor
from mlcore.runs.folder import Runs
supervisor = Supervisor(Runs(sys.argv[1]), projector=False)
supervisor.start()
print("supervising", flush=True)
time.sleep(600)
"""


def let_look(supervisor, times):
    """Until the supervisor has looked so often, which takes the least time that it can on this machine."""
    look, looks = supervisor.tick, []

    def counted(now):
        fault = look(now)
        looks.append(now)
        return fault

    supervisor.tick = counted
    until(lambda: len(looks) >= times)
    supervisor.tick = look


@pytest.fixture
def spec(quick_spec):
    return quick_spec.changed({"threads": 1, "watch.evaluate_every": 12})


@pytest.fixture
def supervisor(runs):
    made = Supervisor(runs, slots=1, projector=False)
    made.start()
    yield made
    for run in runs.all():
        end(run)
    made.close()
    for child in made.engine.children.values():
        child.wait(PATIENCE_S)


def end(run):
    """No worker outlives its test."""
    status = run.stored_status()
    if not status.state.finished and is_alive(status.pid, status.pid_start, status.boot_id):
        os.kill(status.pid, signal.SIGKILL)


def paused(run):
    """The run, going on but doing nothing, once a worker has it."""
    until(lambda: run.stored_status().paused)
    return run.stored_status()


def steps(run):
    history = History(run)
    history.refresh()
    return [event["step"] for event in history.steps]


def test_a_queued_run_is_done_by_the_standby_worker_and_the_next_by_another(runs, spec, supervisor):
    until(lambda: supervisor.engine.ready)
    standby = supervisor.engine.standby.process.pid
    first = runs.create(spec)
    supervisor.wake()
    until(lambda: first.state.finished)
    assert first.state == RunState.DONE
    assert first.stored_status().pid == standby
    second = runs.create(spec)
    supervisor.wake()
    until(lambda: second.state.finished)
    assert second.state == RunState.DONE
    assert second.stored_status().pid != standby
    assert steps(second) == list(range(1, 13))
    assert first.log_end() == ""


def test_a_killed_worker_is_told_within_five_seconds_and_the_run_goes_on_when_resumed(runs, spec, supervisor):
    run = runs.create(spec)
    run.ask("pause")
    worker = paused(run).pid
    os.kill(worker, signal.SIGKILL)
    until(lambda: has_ended(worker))
    let_look(supervisor, LOOKS)
    assert LOOKS * IDLE_TICK_S < 5.0
    assert (run.state, run.stored_status().reason_code) == (RunState.FAILED, "worker_killed")
    run.resume()
    supervisor.wake()
    until(lambda: run.stored_status().state.finished)
    assert run.state == RunState.DONE
    assert steps(run) == list(range(1, 13))


def test_a_standby_that_was_killed_is_no_loss(runs, spec, supervisor):
    until(lambda: supervisor.engine.ready)
    os.kill(supervisor.engine.standby.process.pid, signal.SIGKILL)
    run = runs.create(spec)
    supervisor.wake()
    until(lambda: run.stored_status().state.finished)
    assert run.state == RunState.DONE


def test_a_run_outlives_its_server_and_is_adopted_by_the_next(runs, spec):
    command = [sys.executable, "-c", SUPERVISE, str(runs.root)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment())
    successor = Supervisor(runs, slots=1, projector=False)
    run = runs.create(spec)
    try:
        assert server.stdout.readline() == b"supervising\n"
        run.ask("pause")
        until(lambda: runs.read_helper_status("supervisor").get("pid") == server.pid)
        worker = paused(run).pid
        successor.start()
        server.kill()
        server.wait()
        until(lambda: successor.in_charge)
        run.withdraw_request("pause")
        until(lambda: run.stored_status().state.finished)
        assert run.state == RunState.DONE
        assert run.stored_status().pid == worker
        assert run.stored_status().attempt == 1
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        end(run)
        successor.close()


def test_an_adopted_worker_that_dies_is_told_as_lost(runs, spec):
    command = [sys.executable, "-m", "mlcore.worker", "--run"]
    run = runs.create(spec)
    run.ask("pause")
    worker = subprocess.Popen([*command, str(run.path)], env=child_environment())
    supervisor = Supervisor(runs, slots=1, projector=False)
    try:
        paused(run)
        supervisor.start()
        until(lambda: supervisor.in_charge)
        worker.kill()
        worker.wait()
        let_look(supervisor, LOOKS)
        assert (run.state, run.stored_status().reason_code) == (RunState.LOST, "worker_gone")
    finally:
        worker.kill()
        worker.wait()
        supervisor.close()


def test_without_a_supervisor_a_dead_worker_is_told_all_the_same(runs, spec):
    run = runs.create(spec)
    run.ask("pause")
    worker = subprocess.Popen([sys.executable, "-m", "mlcore.worker", "--run", str(run.path)], env=child_environment())
    try:
        paused(run)
        assert run.state == RunState.RUNNING
    finally:
        worker.kill()
        worker.wait()
    assert run.stored_status().state == RunState.RUNNING
    assert (run.state, run.status().reason_code) == (RunState.LOST, "worker_gone")
    run.resume()
    assert (run.stored_status().state, run.stored_status().attempt) == (RunState.QUEUED, 2)


def test_a_standby_worker_has_what_is_slow_to_import():
    """torch._dynamo alone, which the first optimizer imports, takes 1.7 s; a test of speed would not say so plainly."""
    slow = ["torch._dynamo", "mlcore.training.loop", "mlcore.losses", "faiss"]
    code = f"from mlcore.worker import get_ready; import sys; get_ready(); print(set({slow}) <= set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, check=True)
    assert out.stdout == b"True\n"


def test_a_standby_worker_ends_with_its_server(tmp_path):
    standby = Standby.start(tmp_path / "log")
    until(standby.ready.is_set)
    close_input(standby.process)
    assert standby.process.wait(PATIENCE_S) == 0


def test_a_run_is_done_although_its_server_was_gone_before_the_worker_was_ready(tmp_path, spec):
    run = Runs(tmp_path / "runs").create(spec)
    command = [sys.executable, "-m", "mlcore.worker", "--standby"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment())
    worker.stdin.write(json.dumps({"run": str(run.path)}).encode() + b"\n")
    worker.stdin.close()
    worker.stdout.close()
    assert worker.wait(PATIENCE_S) == 0
    assert run.state == RunState.DONE


def test_a_process_that_keeps_ending_is_given_more_and_more_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mlcore.engines.local.time.monotonic", lambda: now[0])
    patience = Patience()
    waits = []
    for _ in range(10):
        patience.failed()
        waits.append(patience.not_before - now[0])
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0, 10.0]
    assert not patience.over
    now[0] += 10.0
    assert patience.over
    patience.worked()
    patience.failed()
    assert patience.over
