"""What is deleted can come back for a day of the machine's uptime, whatever became of its place and of the clock."""

from __future__ import annotations

import contextlib
import os
import time

import numpy as np
import pytest

from mlcore.disk.atomic import DiskFull
from mlcore.runs import trash
from mlcore.runs.folder import Runs
from mlcore.runs.states import RunState

DAY_S = 86_400.0


@pytest.fixture
def deleted(runs, quick_spec):
    run = runs.create(quick_spec)
    run.move(RunState.CANCELLED)
    runs.delete(run.run_id)
    return run


@pytest.fixture
def uptime(monkeypatch):
    """The machine's uptime, for a test to set."""
    seconds = [1000.0]
    monkeypatch.setattr(trash, "uptime_s", lambda: seconds[0])
    return seconds


def test_setting_the_clock_forward_does_not_empty_the_trash(runs, deleted, uptime, monkeypatch):
    runs.empty_trash(DAY_S)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    os.utime(runs.root / ".trash" / deleted.run_id, (0, 0))
    assert runs.empty_trash(DAY_S) == 0
    assert runs.restore(deleted.run_id).state == RunState.CANCELLED


def test_after_a_day_of_uptime_it_is_gone(runs, deleted, uptime):
    assert runs.empty_trash(DAY_S) == 0
    uptime[0] += DAY_S - 1
    assert runs.empty_trash(DAY_S) == 0
    uptime[0] += 2
    assert Runs(runs.root).empty_trash(DAY_S) == 1
    assert not Runs(runs.root).root.joinpath(".trash", deleted.run_id).exists()


def test_time_before_a_restart_of_the_machine_is_kept_and_time_between_does_not_count(
    runs, deleted, uptime, monkeypatch
):
    runs.empty_trash(DAY_S)
    uptime[0] += DAY_S - 10
    runs.empty_trash(DAY_S)
    monkeypatch.setattr(trash, "boot_id", lambda: "the next boot")
    uptime[0] = 5.0
    assert runs.empty_trash(DAY_S) == 0
    uptime[0] += 9.0
    assert runs.empty_trash(DAY_S) == 0
    uptime[0] += 2.0
    assert runs.empty_trash(DAY_S) == 1


def test_what_is_deleted_again_stays_a_whole_day_again(runs, deleted, uptime):
    runs.empty_trash(DAY_S)
    uptime[0] += DAY_S - 1
    runs.restore(deleted.run_id)
    runs.delete(deleted.run_id)
    uptime[0] += 2
    assert runs.empty_trash(DAY_S) == 0


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"ages": 1}', b'{"ages": {"x": "y"}, "uptime_s": "z"}'])
def test_a_damaged_record_of_ages_only_keeps_things_longer(runs, deleted, uptime, damage):
    (runs.root / ".trash.json").write_bytes(damage)
    uptime[0] += 2 * DAY_S
    assert runs.empty_trash(DAY_S) == 0
    assert runs.restore(deleted.run_id).run_id == deleted.run_id


def test_undo_works_where_a_ghost_has_taken_the_place(runs, deleted):
    ghost = runs.root / deleted.run_id / "attempts" / "001" / "layouts"
    ghost.mkdir(parents=True)
    (ghost / "manifest.jsonl").write_text("{}\n")
    assert runs.restore(deleted.run_id).state == RunState.CANCELLED
    assert not ghost.exists()


def test_a_run_that_is_there_again_is_not_written_over(runs, quick_spec, deleted):
    other = runs.create(quick_spec)
    os.replace(other.path, runs.root / deleted.run_id)
    with pytest.raises(ValueError, match=r"is in .* again"):
        runs.restore(deleted.run_id)
    assert runs.open(deleted.run_id).record.run_id == other.run_id


def test_deleting_a_second_folder_of_the_same_name_loses_neither(runs, quick_spec, deleted):
    other = runs.create(quick_spec)
    other.move(RunState.CANCELLED)
    os.replace(other.path, runs.root / deleted.run_id)
    runs.delete(deleted.run_id)
    assert len(os.listdir(runs.root / ".trash")) == 2


def test_what_is_in_the_trash_is_listed_with_the_time_that_is_left_since_it_was_deleted(
    runs, quick_spec, deleted, uptime
):
    assert [(trashed.name, trashed.run.title()) for trashed in runs.trash()] == [(deleted.run_id, "ArcFace on digits")]
    (runs.root / ".trash.json").unlink()
    older, newer = runs.create(quick_spec), runs.create(quick_spec)
    runs.delete(newer.run_id)
    uptime[0] += 3600
    runs.delete(older.run_id)
    left = {trashed.name: trashed.seconds_left for trashed in runs.trash()}
    assert left == {older.run_id: DAY_S, newer.run_id: DAY_S - 3600, deleted.run_id: DAY_S}
    assert [trashed.name for trashed in runs.trash()][-1] == newer.run_id
    uptime[0] += 2 * DAY_S
    assert {trashed.seconds_left for trashed in runs.trash()} == {0.0, DAY_S}  # unknown for how long: a day from now


def test_a_damaged_run_is_listed_in_the_trash_and_comes_back(runs, deleted):
    (runs.root / ".trash" / deleted.run_id / "spec.json").write_bytes(b"{")
    (trashed,) = runs.trash()
    assert trashed.run.title() == deleted.run_id
    runs.restore(trashed.name)
    assert runs.ids() == [deleted.run_id]
    assert runs.trash() == []


def test_of_two_runs_of_one_name_each_can_be_had_back(runs, quick_spec, deleted):
    other = runs.create(quick_spec.changed({"name": "the other"}))
    os.replace(other.path, runs.root / deleted.run_id)
    with pytest.raises(ValueError, match="Delete the other first"):
        runs.restore(deleted.run_id)
    runs.delete(deleted.run_id)
    assert {trashed.run.title() for trashed in runs.trash()} == {"ArcFace on digits", "the other"}
    first = next(trashed for trashed in runs.trash() if trashed.run.title() != "the other")
    assert runs.restore(first.name).run_id == deleted.run_id
    assert runs.open(deleted.run_id).title() == "ArcFace on digits"
    assert [trashed.run.title() for trashed in runs.trash()] == ["the other"]


def test_a_run_that_is_being_removed_for_good_cannot_be_taken_back_in_parts(runs, deleted, monkeypatch):
    def taken_back_meanwhile(path, **_):
        with pytest.raises(ValueError, match="no longer in the trash"):
            runs.restore(deleted.run_id)

    monkeypatch.setattr(trash.shutil, "rmtree", taken_back_meanwhile)
    assert runs.empty_trash() == 0
    assert runs.trash() == []
    monkeypatch.undo()
    assert runs.empty_trash() == 1
    assert os.listdir(runs.root / ".trash") == []


def test_runs_can_be_deleted_where_the_disk_is_full(runs, quick_spec, monkeypatch):
    run = runs.create(quick_spec)

    def full(*_, **__):
        raise DiskFull(28, "the disk is full")

    monkeypatch.setattr(trash, "replace_json", full)
    runs.delete(run.run_id)
    assert [trashed.name for trashed in runs.trash()] == [run.run_id]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "nothing", "01arz3ndektsv4rrffq69g5fav"])
def test_what_is_no_run_in_the_trash_is_not_taken_back(runs, deleted, name):
    with pytest.raises(ValueError, match="no longer in the trash"):
        runs.restore(name)


class DeletedAt:
    """Deletes a run at the n-th write site that a writer passes."""

    def __init__(self, runs, run_id, count):
        self.runs, self.run_id, self.left, self.sites = runs, run_id, count, []

    def passed(self, site):
        self.sites.append(site)
        self.left -= 1
        if self.left == 0:
            self.runs.delete(self.run_id)


def write_everything(attempt):
    """All that a projector and a late worker may write into an attempt."""
    writer = attempt.layout_writer()
    try:
        writer.layout("umap-2d", 4, np.zeros((3, 2)), {"k": 1.0}, 0.1)
        writer.faith("pca-2d", 4, {"k": 1.0})
        writer.layout("umap-2d", 8, np.zeros((3, 2)), {"k": 1.0}, 0.1)
        late = attempt.writer()
        try:
            late.snapshot(8, {"embeddings": np.zeros((3, 2))})
            late.checkpoint(8, b"weights")
        finally:
            late.close()
    finally:
        writer.close()


def delete_while_it_is_written(runs, run, count, monkeypatch):
    """Write everything into a finished run that is deleted at the n-th write site; returns how many were passed."""
    attempt = run.begin_attempt()
    run.move(RunState.STARTING)
    run.move(RunState.DONE)
    deleting = DeletedAt(runs, run.run_id, count)
    with monkeypatch.context() as patch, contextlib.suppress(FileNotFoundError):
        patch.setattr("mlcore.disk.atomic.CRASHES", deleting)
        write_everything(attempt)
    return len(deleting.sites)


def test_a_run_deleted_at_any_moment_of_its_writing_leaves_no_ghost_and_comes_back(runs, quick_spec, monkeypatch):
    sites = delete_while_it_is_written(runs, runs.create(quick_spec), 10**6, monkeypatch)
    assert sites > 20
    for count in range(1, sites + 1):
        run = runs.create(quick_spec)
        delete_while_it_is_written(runs, run, count, monkeypatch)
        assert not run.path.exists(), f"a ghost after {count} writes"
        assert runs.restore(run.run_id).state == RunState.DONE
