"""Kill a worker anywhere: what it told is there, files are whole, and the next attempt ends as if nothing were."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time

import pytest

from mlcore.disk.atomic import RESERVE_BYTES
from mlcore.runs.folder import Runs
from mlcore.runs.history import History
from mlcore.runs.states import RunState

REPLACES = {".json": (1, 2, 4, 7), ".npz": (1, 2), ".safetensors": (1, 3), "": (1, 2)}
SITES = [
    ("attempt.claimed", 1),
    *(
        (f"replace{kind}.{moment}", n)
        for kind, counts in REPLACES.items()
        for n in counts
        for moment in ("opened", "replaced")
    ),
    *((f"replace{kind}.{moment}", counts[-1]) for kind, counts in REPLACES.items() for moment in ("written", "synced")),
    *((f"line.manifest.{moment}", n) for moment in ("before", "after") for n in (1, 2, 5)),
    *((f"line.events-000.{moment}", n) for moment in ("before", "after") for n in (1, 4, 10, 18)),
    ("manifest.removed", 1),
]
FEW = 6  # of the kills at a random moment; LAB_KILLS=200 in the environment makes more


@pytest.fixture
def spec(tiny):
    return tiny


@pytest.fixture
def undisturbed(tmp_path, forge, spec, known={}):  # noqa: B006 - the same for all tests
    if not known:
        run = Runs(tmp_path / "undisturbed").create(spec)
        assert forge.work(run) == 0
        known["told"] = told(run)
    return known["told"]


def told(run):
    """The loss of every step, the scores of every look, over all attempts, and what the run ended with."""
    history = History(run)
    history.refresh()
    losses = [(event["step"], event["loss"], event["grad_norm"]) for event in history.steps]
    looks = [(event["step"], event["held_out"], event["train"]) for event in history.evaluations]
    return losses, looks, run.result()["metrics"], run.stored_status().metrics


def check_whole(run):
    """Every file of every attempt is whole, or not yet there for readers."""
    json.loads((run.path / "spec.json").read_bytes())
    json.loads((run.path / "status.json").read_bytes())
    for attempt in run.attempts():
        events = (attempt.path / "events-000.jsonl").read_bytes() if attempt.event_reader().path.exists() else b""
        assert events == b"" or events.endswith(b"\n")
        records = [json.loads(line) for line in events.splitlines()]
        assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
        removed = {e["file"] for e in attempt.manifest_reader().read_new() if e.get("removed")}
        listed = {e["file"]: e for e in attempt.manifest_reader().read_new() if "sha256" in e}
        for name, entry in listed.items():
            if name not in removed:
                assert hashlib.sha256((attempt.path / name).read_bytes()).hexdigest() == entry["sha256"]
        shown = {record["step"] for record in records if record["kind"] == "snapshot"}
        assert {f"snapshots/{step:06d}.npz" for step in shown} <= set(listed)
        saved = {record["step"] for record in records if record["kind"] == "checkpoint"}
        assert {f"checkpoints/{step:06d}.safetensors" for step in saved} <= set(listed)


def check_resumed(run, forge, undisturbed):
    """The next attempt ends as the run would have ended, and nothing unfinished is left."""
    before = History(run)
    before.refresh()
    acknowledged = [(event["step"], event["loss"], event["grad_norm"]) for event in before.steps]
    assert acknowledged == undisturbed[0][: len(acknowledged)]
    run.resume()
    assert forge.work(run) == 0
    assert run.state == RunState.DONE
    assert told(run) == undisturbed
    check_whole(run)
    steps = [entry["step"] for entry in run.attempts()[-1].checkpoints()]
    assert steps[-1:] in ([8], [])
    leftovers = [path.name for path in run.path.rglob(".*")]
    assert leftovers == []
    assert run.watch() is not None
    assert run.atlas() is not None


def check_finished(run, forge, undisturbed):
    """A run that was taken up is lost and can be resumed; one that was not is still waiting."""
    run.settle()
    if run.state == RunState.QUEUED:
        assert run.attempts() == []
        assert forge.work(run) == 0
        assert told(run) == undisturbed
        assert list(run.path.rglob(".*")) == []
    elif run.state == RunState.DONE:
        assert told(run) == undisturbed
    else:
        assert run.state == RunState.LOST
        check_resumed(run, forge, undisturbed)


@pytest.mark.parametrize(("site", "count"), SITES, ids=[f"{site}:{count}" for site, count in SITES])
def test_killed_at_a_write_nothing_told_is_lost_and_the_run_can_be_finished(
    tmp_path, forge, spec, undisturbed, site, count
):
    run = Runs(tmp_path).create(spec)
    assert forge.work(run, crash=f"{site}:{count}") == -signal.SIGKILL
    check_whole(run)
    check_finished(run, forge, undisturbed)


LAST_WRITES = ("line.events-000.before", "line.events-000.after", "line.manifest.before", "line.manifest.after")


@pytest.mark.parametrize("site", LAST_WRITES)
def test_killed_anywhere_near_its_end_the_run_ends_with_the_figures_of_an_unbroken_one(
    tmp_path, forge, spec, undisturbed, site
):
    kills, from_the_last_checkpoint = 0, 0
    for count in range(10 if "events" in site else 4, 60):
        run = Runs(tmp_path / str(count)).create(spec)
        if forge.work(run, crash=f"{site}:{count}") == 0:
            break
        kills += 1
        from_the_last_checkpoint += 8 in [entry["step"] for entry in run.attempts()[0].checkpoints()]
        check_finished(run, forge, undisturbed)
    assert kills >= 5
    assert from_the_last_checkpoint >= 1


@pytest.mark.parametrize("chance", range(int(os.environ.get("LAB_KILLS", FEW))))
def test_killed_at_any_moment_the_run_can_be_finished(tmp_path, forge, spec, undisturbed, chance):
    run = Runs(tmp_path).create(spec)
    pid = forge.start(run)
    began = time.monotonic()
    wait = random.Random(chance).uniform(0.0, 1.5)
    while time.monotonic() - began < wait and not run.stored_status().state.finished:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    forge.end()
    check_whole_but_for_the_torn_line(run)
    check_finished(run, forge, undisturbed)


def check_whole_but_for_the_torn_line(run):
    """A line is one write, but a kill may still fall between two parts of it: readers pass over the rest."""
    for attempt in run.attempts():
        records = list(attempt.event_reader().read_new())
        assert [record["seq"] for record in records] == list(range(1, len(records) + 1))


def test_killed_twice_the_third_attempt_still_has_the_same_curve(tmp_path, forge, spec, undisturbed):
    run = Runs(tmp_path).create(spec)
    forge.work(run, crash="replace.safetensors.replaced:2")
    run.settle()
    run.resume()
    forge.work(run, crash="line.events-000.after:3")
    run.settle()
    check_resumed(run, forge, undisturbed)
    assert [attempt.number for attempt in run.attempts()] == [1, 2, 3]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, forge, spec, undisturbed):
    run = Runs(tmp_path).create(spec)
    forge.work(run, crash="replace.safetensors.opened:3")
    newest = max((run.path / "attempts/001/checkpoints").glob("0*.safetensors"))
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    run.settle()
    run.resume()
    assert forge.work(run) == 0
    assert told(run) == undisturbed
    history = History(run)
    history.refresh()
    assert any("damaged" in message["text"] for message in history.messages)
    assert history.started["from_step"] == 2


@pytest.mark.parametrize("limit", [RESERVE_BYTES + 100, RESERVE_BYTES + 12_000])
def test_a_full_disk_ends_the_run_with_a_sentence_and_whole_files(tmp_path, forge, spec, undisturbed, limit):
    big = spec.changed({"backbone.hidden_size": 1024})
    run = Runs(tmp_path).create(big)
    assert forge.work(run, limit=limit) == 1
    status = run.stored_status()
    assert (status.state, status.reason_code) == (RunState.FAILED, "disk_full")
    assert str(tmp_path) in status.reason_text
    assert "MB free" in status.reason_text
    check_whole(run)
    assert [path.name for path in run.path.rglob(".*")] == []
    run.resume()
    assert forge.work(run) == 0
    assert run.state == RunState.DONE


def test_a_disk_without_room_for_a_status_is_an_exit_code(tmp_path, forge, spec):
    run = Runs(tmp_path).create(spec)
    assert forge.work(run, limit=400) == 4
    assert run.stored_status().state in (RunState.QUEUED, RunState.STARTING)
    json.loads((run.path / "status.json").read_bytes())
    run.settle()
    run.resume()
    assert forge.work(run) == 0


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_snapshot_is_one_frame_lost(tmp_path, forge, spec, undisturbed, damage):
    run = Runs(tmp_path).create(spec)
    assert forge.work(run) == 0
    path = run.path / "attempts/001/snapshots/000004.npz"
    data = path.read_bytes()
    {
        "flipped": lambda: path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:]),
        "cut": lambda: path.write_bytes(data[:-9]),
        "gone": path.unlink,
    }[damage]()
    history = History(run)
    history.refresh()
    attempt, entry = history.snapshots.pop(4)
    with pytest.raises(ValueError, match=r"snapshots/000004\.npz"):
        attempt.read_arrays(entry)
    assert list(history.snapshots) == [0, 2, 6, 8]
    for attempt, entry in history.snapshots.values():
        assert len(attempt.read_arrays(entry)["embeddings"]) == 60
    assert told(run) == undisturbed
