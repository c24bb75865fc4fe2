"""The projector lays out what people look at first, goes on where it was, and leaves alone what cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from patience import PATIENCE_S, until

from mlcore import projection, projector
from mlcore.environment import child_environment
from mlcore.projector import METHOD, Projector
from mlcore.runs.history import Pictures
from mlcore.runs.previews import preview_nonce, preview_spec
from mlcore.runs.states import RunState

POINTS = 40


@pytest.fixture
def quick_maps(monkeypatch):
    """A map is made at once, and tells from which map it began."""
    asked = []

    def lay_out(embeddings, previous=None, seed=0, **_):
        asked.append(None if previous is None else previous[0, 0])
        return np.full((len(embeddings), 2), embeddings[0, 0], np.float32)

    monkeypatch.setattr(projection, "umap_layout", lay_out)
    monkeypatch.setattr(projector, "RESCAN_S", 0.0)
    return asked


def begin(runs, spec, steps=(), state=RunState.RUNNING, *, purpose="run", nonce=None, proxies=0, seed=0):
    """A run with a snapshot at each step, whose embeddings begin with the step's number."""
    run = runs.create(spec, purpose=purpose, nonce=nonce)
    attempt = run.begin_attempt()
    run.move(RunState.STARTING)
    add(attempt, steps, proxies, seed)
    run.move(state)
    return run


def add(attempt, steps, proxies=0, seed=0):
    writer = attempt.writer()
    for step in steps:
        embeddings = np.random.default_rng(step + seed).normal(size=(POINTS, 4))
        embeddings[0, 0] = step
        arrays = {"embeddings": embeddings.astype(np.float16), "pca": embeddings[:, :3].astype(np.float32)}
        if proxies:
            arrays["proxies"] = np.ones((proxies, 4), np.float16)
        writer.snapshot(step, arrays)
    writer.close()


def yesterday(run):
    os.utime(run.path / "status.json", (time.time() - 86_400,) * 2)


def jobs(worker, count=20):
    """What is done, as (run id, step), until there is nothing to do."""
    done = []
    while (job := worker.next_job()) is not None and len(done) < count:
        done.append((job.pictures.run.run_id, job.step))
        worker.do(job)
    return done


def pictures(run):
    found = Pictures(run)
    found.refresh()
    return found


def test_the_newest_snapshot_is_first_and_every_map_starts_from_the_nearest(runs, quick_spec, quick_maps):
    run = begin(runs, quick_spec, (0, 10, 20, 30))
    assert [step for _, step in jobs(Projector(runs))] == [30, 20, 10, 0]
    assert quick_maps == [None, 30, 20, 10]
    assert set(pictures(run).layouts) == {(m, s) for m in ("umap-2d", "pca-2d", "pca-3d") for s in (0, 10, 20, 30)}


def test_a_map_says_how_faithful_it_is_and_so_do_the_principal_components(runs, quick_spec, quick_maps):
    run = begin(runs, quick_spec, (5,))
    jobs(Projector(runs))
    for method in ("umap-2d", "pca-2d", "pca-3d"):
        faith = pictures(run).layouts[method, 5][1]["faith"]
        assert set(faith) == {"knn_kept", "trustworthiness", "k"}
        assert 0.0 <= faith["knn_kept"] <= 1.0
    worse, better = (pictures(run).layouts[m, 5][1]["faith"]["knn_kept"] for m in ("umap-2d", "pca-3d"))
    assert worse < better


def test_proxies_are_laid_out_with_the_images(runs, quick_spec, quick_maps):
    run = begin(runs, quick_spec)
    add(run.attempts()[0], (1,), proxies=3)
    jobs(Projector(runs))
    attempt, entry = pictures(run).layouts[METHOD, 1]
    assert attempt.read_arrays(entry, "layouts")["points"].shape == (POINTS + 3, 2)


def begin_with_preview(runs, spec, at_work, **more):
    """The preview of a spec, laid out, and a run of it with its first snapshot."""
    bare = preview_spec(spec)
    preview = begin(runs, bare, [0], purpose="preview", nonce=preview_nonce(bare))
    at_work.do(at_work.next_job())
    run = begin(runs, spec, [0], **more)
    at_work.do(at_work.next_job())
    return preview, run


def test_a_run_begins_with_the_map_of_its_preview(runs, quick_spec, quick_maps):
    preview, run = begin_with_preview(runs, quick_spec, Projector(runs), proxies=3)
    assert quick_maps == [None]  # only the preview was laid out
    layout, before = layout_of(run, 0), layout_of(preview, 0)
    assert np.array_equal(layout[:POINTS], before)
    assert layout.shape == (POINTS + 3, 2)


def test_a_run_that_begins_otherwise_than_its_preview_has_a_map_of_its_own(runs, quick_spec, quick_maps):
    begin_with_preview(runs, quick_spec, Projector(runs), seed=9)
    assert quick_maps == [None, None]


def layout_of(run, step):
    pictures = Pictures(run)
    pictures.refresh()
    attempt, entry = pictures.layouts[METHOD, step]
    return attempt.read_arrays(entry, "layouts")["points"]


def test_runs_that_go_on_take_turns_and_their_newest_come_before_any_old_one(runs, quick_spec, quick_maps):
    first, second = begin(runs, quick_spec, (0, 10)), begin(runs, quick_spec, (0, 10))
    worker = Projector(runs)
    done = jobs(worker, 2)
    assert sorted(done) == sorted([(first.run_id, 10), (second.run_id, 10)])
    add(first.attempts()[0], (20,))
    add(second.attempts()[0], (20,))
    assert jobs(worker)[:2] == [(done[0][0], 20), (done[1][0], 20)]


def test_a_run_that_has_just_ended_does_not_wait_for_the_backlog_of_one_that_goes_on(runs, quick_spec, quick_maps):
    going = begin(runs, quick_spec, (0, 10, 20))
    worker = Projector(runs)
    jobs(worker, 1)
    ended = begin(runs, quick_spec, (0,), RunState.DONE)
    assert jobs(worker)[0] == (ended.run_id, 0)
    assert {step for _, step in pictures(going).layouts} == {0, 10, 20}


def test_the_runs_of_yesterday_come_last(runs, quick_spec, quick_maps):
    going = begin(runs, quick_spec, (0, 10))
    old = begin(runs, quick_spec, (0, 10), RunState.DONE)
    yesterday(old)
    assert jobs(Projector(runs)) == [(going.run_id, 10), (going.run_id, 0), (old.run_id, 10), (old.run_id, 0)]


def test_a_damaged_snapshot_is_noted_and_left(runs, quick_spec, quick_maps, capsys):
    run = begin(runs, quick_spec, (0, 10))
    (run.path / "attempts/001/snapshots/000010.npz").write_bytes(b"PK")
    assert [step for _, step in jobs(Projector(runs))] == [10, 10, 0]
    found = pictures(run).layouts
    assert "damaged" in found[METHOD, 10][1]["failed"]
    assert "file" in found[METHOD, 0][1]
    assert jobs(Projector(runs)) == []
    assert "damaged" in capsys.readouterr().err


def test_a_bug_in_one_layout_does_not_end_the_projector(runs, quick_spec, quick_maps, monkeypatch, capsys):
    monkeypatch.setattr(projection, "umap_layout", lambda *_, **__: 1 / 0)
    run = begin(runs, quick_spec, (0,))
    jobs(Projector(runs))
    assert "division" in pictures(run).layouts[METHOD, 0][1]["failed"]
    assert "Traceback" in capsys.readouterr().err


def test_too_few_points_for_a_map_is_said(runs, quick_spec, capsys, monkeypatch):
    monkeypatch.setattr(projector, "RESCAN_S", 0.0)
    run = begin(runs, quick_spec)
    writer = run.attempts()[0].writer()
    writer.snapshot(0, {"embeddings": np.ones((5, 3), np.float16), "pca": np.ones((5, 3), np.float32)})
    writer.close()
    jobs(Projector(runs))
    assert "more than 15 points" in pictures(run).layouts[METHOD, 0][1]["failed"]
    capsys.readouterr()


def test_a_damaged_map_is_no_start_for_the_next(runs, quick_spec, quick_maps):
    run = begin(runs, quick_spec, (0, 10))
    worker = Projector(runs)
    jobs(worker)
    (run.path / "attempts/001/layouts/umap-2d/000010.npy").write_bytes(b"")
    add(run.attempts()[0], (12,))
    jobs(worker)
    assert quick_maps[-1] == 0


def test_a_finished_run_is_let_go_and_taken_up_again_when_it_is_resumed(runs, quick_spec, quick_maps):
    run = begin(runs, quick_spec, (0,), RunState.FAILED)
    worker = Projector(runs)
    jobs(worker)
    yesterday(run)
    worker.next_job()
    assert worker.followed == {}
    run.resume()
    attempt = run.begin_attempt()
    run.move(RunState.STARTING)
    writer = attempt.writer()
    writer.event({"kind": "started", "step": 0, "from_step": 0})
    writer.close()
    add(attempt, (5,))
    assert jobs(worker) == [(run.run_id, 5)]


def test_a_step_that_is_trained_again_is_laid_out_again(runs, quick_spec, quick_maps):
    run = begin(runs, quick_spec, (0, 10), RunState.FAILED)
    worker = Projector(runs)
    jobs(worker)
    run.resume()
    attempt = run.begin_attempt()
    run.move(RunState.STARTING)
    writer = attempt.writer()
    writer.event({"kind": "started", "step": 0, "from_step": 0})
    writer.close()
    add(attempt, (10,))
    assert jobs(worker) == [(run.run_id, 10)]
    assert [path.name for path in (attempt.path / "layouts/umap-2d").iterdir()] == ["000010.npy"]


def test_a_deleted_run_is_forgotten(runs, quick_spec, quick_maps):
    run = begin(runs, quick_spec, (0,), RunState.DONE)
    worker = Projector(runs)
    assert worker.next_job() is not None
    runs.delete(run.run_id)
    assert worker.next_job() is None
    assert worker.followed == {}


def test_idle_among_a_thousand_finished_runs_nothing_is_read_again(runs, quick_spec, monkeypatch):
    monkeypatch.setattr(projector, "RESCAN_S", 0.0)
    template = begin(runs, quick_spec, (), RunState.DONE)
    yesterday(template)
    for number in range(1000):
        other = runs.root / f"{number:026d}"
        other.mkdir()
        (other / "status.json").write_bytes((template.path / "status.json").read_bytes())
        (other / "attempts").mkdir()
        os.utime(other / "status.json", (time.time() - 86_400,) * 2)
    worker = Projector(runs)
    worker.next_job()
    monkeypatch.setattr(Pictures, "refresh", lambda _: pytest.fail("read again"))
    worker.next_job()
    began = time.process_time()
    worker.rescan()
    assert time.process_time() - began < 0.25  # some 10 ms; ten times a second would still be cheap


def test_the_process_lays_out_and_ends_when_its_input_is_closed(runs, quick_spec):
    run = begin(runs, quick_spec, (0, 10))
    command = [sys.executable, "-m", "mlcore.projector", "--runs", str(runs.root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment())
    try:
        until(lambda: (METHOD, 0) in pictures(run).layouts)
        heard = runs.read_helper_status("projector")
        assert (heard["pid"], heard["alive"], heard["ready"]) == (process.pid, True, True)
        second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=child_environment())
        assert second.returncode == 3
        assert b"another projector" in second.stderr
        attempt, entry = pictures(run).layouts[METHOD, 0]
        earlier, later = (
            attempt.read_arrays(pictures(run).layouts[METHOD, step][1], "layouts")["points"] for step in (0, 10)
        )
        assert earlier.shape == later.shape == (POINTS, 2)
        assert entry["faith"]["trustworthiness"] > 0.6
        np.testing.assert_allclose(earlier.mean(axis=0), later.mean(axis=0), atol=0.1)
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
        assert not runs.read_helper_status("projector")["alive"]
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stderr.close()


def test_an_orphan_in_the_middle_of_a_map_ends_soon(monkeypatch):
    ends, orphaned = [], threading.Event()
    monkeypatch.setattr(projector.os, "read", lambda *_: b"")
    monkeypatch.setattr(projector.sys, "stdin", open(os.devnull))  # noqa: SIM115 - closed below
    monkeypatch.setattr(projector.os, "_exit", ends.append)
    monkeypatch.setattr(projector, "ORPHAN_S", 0.0)
    projector.end_with_input(orphaned)
    projector.sys.stdin.close()
    assert orphaned.is_set()
    assert ends == [0]
