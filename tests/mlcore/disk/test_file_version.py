"""A file that was replaced is seen to be another, also within one tick of the file system's clock."""

from __future__ import annotations

import os
import time

from mlcore.disk import file_version
from mlcore.disk.atomic import replace_json
from mlcore.disk.file_version import file_stamp, same_stamp
from mlcore.runs.queue import Queue
from mlcore.runs.states import RunState


def test_a_file_left_alone_is_the_same_and_a_replaced_one_is_not(tmp_path):
    path = tmp_path / "status.json"
    replace_json(path, {"step": 1})
    os.utime(path, (time.time() - 10,) * 2)
    before = file_stamp(path)
    assert same_stamp(before, file_stamp(path))
    replace_json(path, {"step": 2})
    assert not same_stamp(before, file_stamp(path))


def test_a_file_that_had_just_been_written_may_have_changed_since(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    replace_json(path, {"step": 1})
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(file_version.time, "time_ns", lambda: written + file_version.YOUNG_NS - 1)
    assert not same_stamp(file_stamp(path), file_stamp(path))
    monkeypatch.setattr(file_version.time, "time_ns", lambda: written + file_version.YOUNG_NS)
    assert same_stamp(file_stamp(path), file_stamp(path))


def test_a_file_that_is_gone_or_has_come_is_another(tmp_path):
    path = tmp_path / "status.json"
    assert same_stamp(file_stamp(path), file_stamp(path))
    path.write_text("{}")
    assert not same_stamp(None, file_stamp(path))


def test_the_queue_sees_every_one_of_a_hundred_changes_in_a_row(runs, quick_spec):
    run = runs.create(quick_spec)
    queue = Queue(runs)
    for step in range(100):
        run.write_status(run.stored_status().model_copy(update={"step": step % 7}), sync=False)
        assert queue.unfinished()[0].status.step == step % 7
    run.move(RunState.STARTING)
    run.move(RunState.DONE)
    assert queue.unfinished() == []
