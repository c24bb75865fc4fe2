"""One attempt: wishes are obeyed, ends are told in a sentence, and a run that is no longer ours is left alone."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
from patience import PATIENCE_S, until

from mlcore.engines import attempt_runner
from mlcore.engines.attempt_runner import Clock, Session, explain_failure, points_before, run_folder, thin_points
from mlcore.runs.folder import Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState
from mlcore.spec.run_spec import RunSpec
from mlcore.training import evaluator, loop
from mlcore.training import prepare as prepare_module
from mlcore.training.events import StepDone

LONG = {"budget.steps": 1_000_000, "budget.max_seconds": 10.0, "watch.evaluate_every": None}  # ends when a test fails


@pytest.fixture
def spec(quick_spec):
    return quick_spec.changed({"threads": 1, "watch.evaluate_every": 12})


def history(run):
    past = History(run)
    past.refresh()
    return past


def kinds(run):
    return [event["kind"] for attempt in run.attempts() for event in attempt.event_reader().read_new()]


def at_step(step, act):
    """A consumer of events that acts once when a step is done."""
    done = []

    def seen(event):
        if isinstance(event, StepDone) and event.step >= step and not done:
            done.append(act())

    return seen


def test_a_run_leaves_a_true_status_a_result_and_its_events_in_order(runs, spec):
    run = runs.create(spec)
    assert run_folder(run) == 0
    status = run.stored_status()
    assert (status.state, status.step, status.reason_code, status.activity) == (RunState.DONE, 12, "completed", "")
    assert status.metrics["step"] == 12
    assert [point[0] for point in status.metrics["curve"]] == [0, 12]
    assert run.result()["metrics"] == status.metrics
    assert run.result()["torch"]
    told = kinds(run)
    assert told[0] == "started"
    assert told[-1] == "state"
    assert told.count("step") == 12
    assert list(history(run).snapshots) == [0, 12]
    assert [path.name for path in run.path.rglob(".*")] == []


def test_a_stop_is_told_before_another_step_and_keeps_everything(runs, spec):
    run = runs.create(spec.changed(LONG))
    code = run_folder(run, on_event=at_step(20, run.stop))
    assert code == 0
    assert (run.state, run.stored_status().reason_code) == (RunState.CANCELLED, "stopped")
    assert "can be resumed" in run.stored_status().reason_text
    assert history(run).steps[-1]["step"] in (20, 21)
    assert 0 in history(run).snapshots


def test_a_stopped_run_goes_on_where_it_was(runs, spec):
    run = runs.create(spec)
    run_folder(run, on_event=at_step(5, run.stop))
    before = run.stored_status().seconds
    run.resume()
    assert run_folder(run) == 0
    assert [event["step"] for event in history(run).steps] == list(range(1, 13))
    assert run.stored_status().attempt == 2
    assert run.stored_status().seconds > before


def test_sigterm_stops_the_run_from_outside_and_it_can_be_resumed(runs, spec):
    run = runs.create(spec.changed(LONG))
    before = signal.getsignal(signal.SIGTERM)
    assert run_folder(run, on_event=at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM))) == 1
    assert signal.getsignal(signal.SIGTERM) == before
    assert (run.state, run.stored_status().reason_code) == (RunState.CANCELLED, "terminated")
    assert "from outside (SIGTERM)" in run.stored_status().reason_text
    assert run.state.resumable


@pytest.mark.parametrize("kind", ["plain", "components"])
def test_told_to_end_before_the_first_look_is_over_the_run_keeps_a_checkpoint_and_ends_as_if_it_had_not_been(
    runs, spec, monkeypatch, kind
):
    if kind == "components":
        spec = spec.changed({"backbone.freeze": "everything", "head.start": "components"})
    unbroken, run = runs.create(spec), runs.create(spec)
    assert run_folder(unbroken) == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "LAST_MOMENT_S", 0.0)
        patch.setattr(evaluator.Evaluator, "_work", lambda self, *_: self._cancelled.wait())
        run_folder(run, on_event=at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    past = history(run)
    assert (run.state, run.stored_status().reason_code) == (RunState.CANCELLED, "terminated")
    assert (past.evaluations, past.snapshots) == ([], {})
    (entry,) = run.attempts()[-1].checkpoints()
    assert entry["step"] == past.steps[-1]["step"] >= 3
    run.resume()
    assert run_folder(run) == 0
    assert history(run).started["from_step"] == entry["step"]
    assert figures(run) == figures(unbroken)
    assert losses(run) == losses(unbroken)
    assert list(history(run).snapshots) == [0, 12]


def figures(run):
    """What every look measured and what the run ended with, without the time that it took."""
    looks = [
        (event["step"], event["held_out"], event["train"], event["backbone"]) for event in history(run).evaluations
    ]
    return sorted(looks, key=lambda look: look[0]), run.result()["metrics"], run.stored_status().metrics


def losses(run):
    return [(event["step"], event["loss"], event["grad_norm"]) for event in history(run).steps]


def test_ctrl_c_is_a_stop(runs, spec):
    run = runs.create(spec.changed(LONG))
    assert run_folder(run, on_event=at_step(3, lambda: os.kill(os.getpid(), signal.SIGINT))) == 0
    assert run.state == RunState.CANCELLED


def test_a_paused_run_waits_tells_so_and_does_not_count_the_time(runs, spec):
    run = runs.create(spec)
    paused = []

    def let_go_on():
        until(lambda: run.stored_status().paused)
        first = history(run).steps[-1]["step"]
        until(lambda: 0 in history(run).snapshots)  # what is being looked at arrives meanwhile
        before = run.stored_status().seconds
        until(lambda: time.monotonic() - paused[0] > 1.0)
        assert history(run).steps[-1]["step"] == first
        assert run.stored_status().seconds == before
        run.withdraw_request("pause")

    helper = threading.Thread(target=let_go_on)
    helper.start()
    began = time.monotonic()
    assert run_folder(run, on_event=at_step(4, lambda: (paused.append(time.monotonic()), run.ask("pause")))) == 0
    helper.join()
    assert time.monotonic() - began - run.stored_status().seconds > 0.9
    assert not run.stored_status().paused
    assert [event["step"] for event in history(run).steps] == list(range(1, 13))


def test_a_paused_run_can_be_stopped(runs, spec):
    run = runs.create(spec.changed(LONG))

    def stop_when_paused():
        until(lambda: run.stored_status().paused)
        run.stop()

    helper = threading.Thread(target=stop_when_paused)
    helper.start()
    assert run_folder(run, on_event=at_step(4, lambda: run.ask("pause"))) == 0
    helper.join()
    assert run.state == RunState.CANCELLED
    assert not run.asked("pause")


def test_a_run_that_another_process_has_begun_is_left_alone(runs, spec, capsys):
    run = runs.create(spec)
    run.begin_attempt()
    before = run.stored_status()
    assert run_folder(run) == attempt_runner.NOT_MINE
    assert run.stored_status() == before
    assert "begun by another process" in capsys.readouterr().out


def test_a_run_that_was_called_off_before_it_began_is_left_alone(runs, spec):
    run = runs.create(spec)
    run.move(RunState.CANCELLED)
    assert run_folder(run) == attempt_runner.NOT_MINE
    assert run.state == RunState.CANCELLED
    assert kinds(run) == []


def test_a_run_that_was_ended_by_another_stops_without_a_word(runs, spec):
    run = runs.create(spec.changed(LONG))
    end = {"reason_code": "stalled", "reason_text": "Taken for dead."}
    assert run_folder(run, on_event=at_step(3, lambda: run.move(RunState.FAILED, **end))) == attempt_runner.NOT_MINE
    assert run.stored_status().reason_code == "stalled"


def test_a_worker_taken_for_dead_does_not_write_over_the_next_attempt(runs, spec):
    run = runs.create(spec.changed(LONG))

    def give_up_and_resume():
        run.move(RunState.FAILED)
        run.resume()

    assert run_folder(run, on_event=at_step(3, give_up_and_resume)) == attempt_runner.NOT_MINE
    assert (run.stored_status().state, run.stored_status().attempt) == (RunState.QUEUED, 2)


def test_a_fault_of_the_training_is_told_with_its_code(runs, spec):
    rates = {"optimizer.backbone_lr": 10.0, "optimizer.head_lr": 10.0, "optimizer.weight_decay": 10.0}
    run = runs.create(spec.changed({**rates, "loss": "contrastive", "budget.steps": 500}))
    assert run_folder(run) == 1
    assert (run.state, run.stored_status().reason_code) == (RunState.FAILED, "nonfinite_loss")
    assert "ten times smaller" in run.stored_status().reason_text
    lines = (run.path / "attempts/001/events-000.jsonl").read_text()
    assert "NaN" not in lines
    assert '"loss":null' in lines
    assert history(run).messages[-1]["code"] == "nonfinite_loss"


def test_a_setting_that_does_not_fit_the_data_is_told_as_such(runs, spec, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("split: no class is left to hold out.")

    monkeypatch.setattr(prepare_module, "build_split", refuse)
    run = runs.create(spec)
    assert run_folder(run) == 1
    assert run.stored_status().reason_code == "bad_setting"
    assert run.stored_status().reason_text == "split: no class is left to hold out."


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("a bug of ours"), "internal_error"),
        (ValueError("a bug of ours"), "internal_error"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 GB"), "out_of_memory"),
    ],
)
def test_a_bug_is_a_sentence_for_the_person_and_a_traceback_for_the_log(runs, spec, monkeypatch, capsys, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr(loop, "train_step", fail)
    run = runs.create(spec)
    assert run_folder(run) == 1
    status = run.stored_status()
    assert (status.state, status.reason_code) == (RunState.FAILED, code)
    assert "Traceback" not in status.reason_text
    assert "Traceback" in run.log_end()
    assert "Traceback" not in "".join(capsys.readouterr())
    assert history(run).messages[-1]["code"] == code


def test_a_bug_in_an_evaluation_ends_the_run_too(runs, spec, monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(loop.Evaluator, "_metrics", fail)
    run = runs.create(spec)
    assert run_folder(run) == 1
    assert run.stored_status().reason_code == "internal_error"
    assert "in _work" in run.log_end()


def test_missing_images_are_told(runs, spec, monkeypatch):
    def missing(key, **_):
        raise FileNotFoundError(2, "gone", "x.png")

    monkeypatch.setattr(prepare_module, "load", missing)
    run = runs.create(spec)
    assert run_folder(run) == 1
    assert run.stored_status().reason_code == "data_missing"
    assert "x.png" in run.stored_status().reason_text


def test_the_heart_beats_while_a_step_takes_long(runs, spec, monkeypatch):
    run = runs.create(spec.changed({"budget.steps": 1}))
    monkeypatch.setattr(attempt_runner, "BEAT_EVERY_S", 0.01)
    step = loop.train_step
    beats = []

    def slow(*args):
        beats.append(run.attempts()[0].beat())
        until(lambda: run.attempts()[0].beat() > beats[0] + 3)
        return step(*args)

    monkeypatch.setattr(loop, "train_step", slow)
    assert run_folder(run) == 0
    assert beats


def test_an_endless_log_is_begun_anew(runs, spec):
    run = runs.create(spec)
    attempt = run.begin_attempt()
    attempt.log_path().write_text("x" * 100)
    attempt.cut_log(100)
    assert attempt.log_path().stat().st_size == 100
    attempt.log_path().write_text("x" * 101)
    attempt.cut_log(100)
    assert attempt.log_path().stat().st_size == 0


def test_a_curve_is_thinned_evenly_and_keeps_its_ends():
    points = [[step, 0.0] for step in range(101)]
    kept = thin_points(points, 40)
    assert len(kept) <= 42
    assert kept[0] == [0, 0.0]
    assert kept[-1] == [100, 0.0]
    assert thin_points(points[:40], 40) == points[:40]


def test_a_point_of_a_curve_without_a_step_comes_before_no_step():
    assert points_before([[0, 0.1], [None, 0.2], [4, 0.3]], 4) == [[0, 0.1]]


def test_an_error_without_words_is_still_named():
    assert explain_failure(KeyError())[1].startswith("KeyError: no message")


def test_the_clock_does_not_run_while_it_is_stopped(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(attempt_runner.time, "monotonic", lambda: now[0])
    clock = Clock(5.0)
    now[0] += 2.0
    clock.stop()
    now[0] += 50.0
    assert clock.seconds() == 7.0
    clock.go_on()
    now[0] += 1.0
    assert clock.seconds() == 8.0


def test_a_run_in_a_thread_leaves_the_signals_alone(runs, spec):
    run = runs.create(spec.changed({"budget.steps": 1}))
    before = signal.getsignal(signal.SIGINT)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(run_folder(run)))
    thread.start()
    thread.join(PATIENCE_S)
    assert codes == [0]
    assert signal.getsignal(signal.SIGINT) == before


def test_old_disk_reserve_is_given_back(runs, spec):
    run = runs.create(spec)
    first = run.begin_attempt()
    (first.path / ".ballast").write_bytes(b"x" * 100)
    run.move(RunState.STARTING)
    run.move(RunState.FAILED)
    run.resume()
    assert run_folder(run) == 0
    assert [path.name for path in run.path.rglob(".*")] == []


def test_the_events_are_json_that_browsers_take(runs, spec):
    run = runs.create(spec.changed({"budget.steps": 1}))
    run_folder(run)
    for line in (run.path / "attempts/001/events-000.jsonl").read_bytes().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
        assert len(line) < 16_384


def test_a_session_needs_no_particular_folder(tmp_path, spec):
    run = Runs(tmp_path / "a folder with ünïcode").create(spec.changed({"budget.steps": 1}))
    assert Session(run, run.begin_attempt(), None).run() == 0
    assert isinstance(run.spec, RunSpec)
