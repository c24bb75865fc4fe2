"""Reading a run bit by bit gives what reading it at once gives, over all its attempts."""

import numpy as np
from whole_records import evaluated_event, step_event

from mlcore.runs.history import History
from mlcore.runs.states import RunState


def train(run, first, last, *, from_step):
    attempt = run.begin_attempt()
    writer = attempt.writer()
    writer.event({"kind": "started", "step": from_step, "from_step": from_step})
    for step in range(first, last + 1):
        writer.event(step_event(step, loss=float(step), attempt=attempt.number))
        if step % 2 == 0:
            writer.snapshot(step, {"embeddings": np.full((2, 2), attempt.number)})
            writer.event(evaluated_event(step, attempt=attempt.number))
    writer.close()
    return attempt


def test_a_resumed_attempt_replaces_what_it_trains_again(runs, quick_spec):
    run = runs.create(quick_spec)
    history = History(run)
    train(run, 1, 7, from_step=0)
    history.refresh()
    run.move(RunState.STARTING)
    run.move(RunState.FAILED)
    run.resume()
    train(run, 5, 10, from_step=4)
    assert history.refresh()
    for seen in (history, fresh(run)):
        assert [event["step"] for event in seen.steps] == list(range(1, 11))
        assert [event["attempt"] for event in seen.steps] == [1] * 4 + [2] * 6
        assert [event["step"] for event in seen.evaluations] == [2, 4, 6, 8, 10]
        assert list(seen.snapshots) == [2, 4, 6, 8, 10]
        assert [attempt.number for attempt, _ in seen.snapshots.values()] == [1, 1, 2, 2, 2]


def fresh(run):
    history = History(run)
    history.refresh()
    return history


def test_refresh_says_whether_anything_was_new(runs, quick_spec):
    run = runs.create(quick_spec)
    history = History(run)
    assert not history.refresh()
    train(run, 1, 2, from_step=0)
    assert history.refresh()
    assert not history.refresh()


def test_a_layout_is_seen_once_its_line_is_whole(runs, quick_spec):
    run = runs.create(quick_spec)
    attempt = train(run, 1, 2, from_step=0)
    writer = attempt.layout_writer()
    writer.layout("umap-2d", 2, np.zeros((2, 2)), {"knn_kept": 0.5}, 0.1)
    writer.close()
    history = fresh(run)
    found, entry = history.layouts["umap-2d", 2]
    assert found.read_arrays(entry, "layouts")["points"].shape == (2, 2)


def test_only_the_last_checkpoints_are_kept(runs, quick_spec):
    run = runs.create(quick_spec)
    attempt = run.begin_attempt()
    writer = attempt.writer()
    for step in (1, 2, 3, 4):
        writer.checkpoint(step, bytes([step]))
    writer.close()
    assert [entry["step"] for entry in attempt.checkpoints()] == [3, 4]
    assert attempt.read_bytes(attempt.checkpoints()[-1]) == b"\x04"
    assert len(list((attempt.path / "checkpoints").iterdir())) == 2
