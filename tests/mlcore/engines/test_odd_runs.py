"""Whatever lies in the runs folder, the queue goes on, the projector too, and what is passed over is named."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from mlcore.projector import Projector
from mlcore.runs.folder import RunFolder
from mlcore.runs.liveness import machine_elsewhere
from mlcore.runs.queue import Queue
from mlcore.runs.states import RunState
from mlcore.runs.unreadable_folders import OddFolders

DEEP = b"[" * 200_000 + b"]" * 200_000
FILES = ["spec.json", "status.json", "label.json", "attempts/001/claim.json", "attempts/001/heartbeat"]
FILES += ["attempts/001/events-000.jsonl", "attempts/001/manifest.jsonl", "attempts/001/layouts/manifest.jsonl"]


def replaced_by_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def replaced_by_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def replaced_by_loop(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def made_huge(path):
    path.touch()
    os.truncate(path, 2**40)


def replaced_by_device(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


DAMAGES = {
    "gone": lambda path: path.unlink(missing_ok=True),
    "empty": lambda path: path.write_bytes(b""),
    "deep": lambda path: path.write_bytes(DEEP),
    "deep line": lambda path: path.write_bytes(DEEP + b"\n"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "number": lambda path: path.write_bytes(b"1" * 5000),
    "list": lambda path: path.write_bytes(b"[{}]"),
    "nan": lambda path: path.write_bytes(b'{"state": NaN}'),
    "pipe": replaced_by_pipe,
    "folder": replaced_by_folder,
    "loop": replaced_by_loop,
    "huge": made_huge,
    "device": replaced_by_device,
}


@pytest.fixture
def odd(runs, quick_spec):
    """A waiting run, claimed by somebody who is gone if it is asked for, to be damaged."""

    def make(*, claimed):
        run = runs.create(quick_spec)
        if claimed:
            attempt = run.begin_attempt()
            writer, layouts = attempt.writer(), attempt.layout_writer()
            writer.event({"kind": "started", "step": 0, "from_step": 0})
            writer.beat()
            for pen in (writer, layouts):
                pen.close()
        run.set_label(name="odd")
        return run

    return make


def check_queue_goes_on(runs, spec, supervisor):
    """A good run behind it is started, by a supervisor that has had two looks."""
    good = runs.create(spec)
    supervisor.engine.slots = 3
    supervisor.tick(0.0)
    supervisor.tick(1.0)
    assert good.run_id in supervisor.engine.submitted
    assert Projector(runs).next_job() is None
    assert good.run_id not in {odd.name for odd in OddFolders(runs).read()}


@pytest.mark.parametrize("claimed", [False, True], ids=["waiting", "claimed"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_does_not_stop_the_queue(runs, quick_spec, odd, supervisor, file, damage, claimed):
    run = odd(claimed=claimed)
    if (run.path / file).parent.is_dir():
        DAMAGES[damage](run.path / file)
    check_queue_goes_on(runs, quick_spec, supervisor)


WRONG = [None, True, -1, 10**400, 1e308, "", "x" * 10_000, [], {}, [[]], "\ud800", "../..", "preview"]


@pytest.mark.parametrize("seed", range(60))
def test_a_record_with_wrong_values_does_not_stop_the_queue(runs, quick_spec, odd, supervisor, seed):
    chance = random.Random(seed)
    run = odd(claimed=chance.random() < 0.5)
    for name in chance.sample(FILES[:4], 2):
        path = run.path / name
        record = json.loads(path.read_bytes()) if path.exists() else {}
        for key in chance.sample(sorted(record), min(len(record), chance.randint(1, 4))):
            record[key] = chance.choice(WRONG)
        if path.parent.is_dir():
            path.write_text(json.dumps(record))
    check_queue_goes_on(runs, quick_spec, supervisor)


def test_attempts_of_odd_names_are_passed_over(runs, quick_spec, odd, supervisor):
    run = odd(claimed=True)
    for name in ("0x1", "1e5", "12 (copy)", "²"):
        (run.path / "attempts" / name).mkdir()
    (run.path / "attempts" / "7").write_text("a file")
    assert [attempt.number for attempt in run.attempts()] == [1]
    check_queue_goes_on(runs, quick_spec, supervisor)


def change_spec(run, **changes):
    record = json.loads((run.path / "spec.json").read_bytes())
    (run.path / "spec.json").write_text(json.dumps(record | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"purpose": "world domination"}, "spec.json cannot be understood"),
        ({"schema_version": 99}, "made by a newer version"),
        ({"spec": {}}, None),
        ({"spec": {"loss": "nothing"}}, "spec.json cannot be understood"),
    ],
)
def test_a_waiting_run_that_cannot_be_understood_is_set_aside_and_named(
    runs, quick_spec, odd, supervisor, changes, words
):
    run = odd(claimed=False)
    change_spec(run, **changes)
    check_queue_goes_on(runs, quick_spec, supervisor)
    troubles = {odd.name: odd.trouble for odd in OddFolders(runs).read()}
    if words is None:
        assert troubles == {}
        return
    assert words in troubles[run.run_id]
    assert "is passed over. Delete it" in troubles[run.run_id]
    assert run.run_id not in supervisor.engine.submitted
    assert run.stored_status().state == RunState.QUEUED


def test_what_was_set_aside_comes_back_when_it_is_made_right(runs, odd):
    run = odd(claimed=False)
    queue = Queue(runs)
    before = (run.path / "spec.json").read_bytes()
    change_spec(run, purpose="?")
    assert (queue.waiting(), list(queue.set_aside())) == ([], [run.run_id])
    (run.path / "spec.json").write_bytes(before)
    assert ([entry.run.run_id for entry in queue.waiting()], queue.set_aside()) == ([run.run_id], {})


def test_a_renamed_folder_is_named_with_the_run_that_it_holds(runs, odd):
    run, other = odd(claimed=False), odd(claimed=False)
    os.rename(run.path, runs.root / "my best run")
    shutil.copytree(other.path, runs.root / f"{other.run_id} (copy)")
    (runs.root / "notes").mkdir()
    found = OddFolders(runs)
    first, second = sorted(found.read(), key=lambda odd: "copy" in odd.trouble)
    assert (first.name, first.trouble.count(run.run_id)) == ("my best run", 2)
    assert "Rename it to" in first.trouble
    assert f"a copy of run {other.run_id}, which is here" in second.trouble
    os.rename(runs.root / "my best run", run.path)
    assert [odd.name for odd in found.read()] == [second.name]
    assert runs.open(run.run_id).title() == "odd"


def test_a_folder_without_a_run_in_it_is_named(runs):
    ghost = runs.root / ("0" * 26)
    (ghost / "attempts" / "001" / "layouts").mkdir(parents=True)
    (told,) = OddFolders(runs).read()
    assert told.name == ghost.name
    assert "no spec.json" in told.trouble


def test_the_machine_of_a_damaged_run_is_none(runs, quick_spec, odd):
    run = odd(claimed=True)
    (run.path / "attempts/001/claim.json").write_text('{"host": []}')
    assert machine_elsewhere(run.path, RunFolder(run.path).stored_status()) == ""
