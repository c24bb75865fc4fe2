"""A run is a folder: made whole, claimed once, found again, deleted with a way back."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mlcore.runs.folder import RunFolder, RunNotFound, Runs
from mlcore.runs.states import RunState


def test_a_new_run_can_be_opened_and_says_what_it_is(runs, quick_spec):
    run = runs.create(quick_spec)
    again = runs.open(run.run_id)
    assert again.spec == quick_spec
    assert again.state == RunState.QUEUED
    assert again.record.sha256 == quick_spec.digest()
    assert "torch" in again.record.versions


def test_the_same_press_of_start_makes_one_run(runs, quick_spec):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: runs.create(quick_spec, nonce="press1").run_id, range(8)))
    assert len(set(made)) == 1
    assert runs.ids() == [made[0]]


def test_an_attempt_can_be_claimed_once(runs, quick_spec):
    run = runs.create(quick_spec)
    run.begin_attempt()
    with pytest.raises(FileExistsError):
        RunFolder(run.path).begin_attempt()


@pytest.mark.parametrize("name", ["", "..", "../../etc", "0" * 25, "A" * 26, "i" * 26, "x\x00y", "0" * 26])
def test_a_name_that_is_no_run_is_not_found(runs, name):
    with pytest.raises(RunNotFound):
        runs.open(name)


def test_a_run_is_found_by_the_end_of_its_id_or_its_name(runs, quick_spec):
    run = runs.create(quick_spec)
    run.set_label(name="My run")
    assert runs.find(run.run_id[-6:]).run_id == run.run_id
    assert runs.find("My run").run_id == run.run_id
    with pytest.raises(RunNotFound, match="python -m mlcore runs"):
        runs.find("nothing like it")


def test_states_are_written_forward_only(runs, quick_spec):
    run = runs.create(quick_spec)
    run.move(RunState.STARTING)
    run.move(RunState.RUNNING)
    with pytest.raises(ValueError, match="cannot become queued"):
        run.move(RunState.QUEUED)
    run.move(RunState.CANCELLED)
    run.ask("cancel")
    run.resume()
    assert (run.status().attempt, run.state, run.asked("cancel")) == (2, RunState.QUEUED, False)


def test_a_done_run_is_not_resumed(runs, quick_spec):
    run = runs.create(quick_spec)
    for state in (RunState.STARTING, RunState.RUNNING, RunState.DONE):
        run.move(state)
    with pytest.raises(ValueError, match="only a stopped, failed or lost run"):
        run.resume()


def test_deleting_is_refused_while_a_run_goes_on_and_can_be_undone_after(runs, quick_spec):
    run = runs.create(quick_spec)
    run.move(RunState.STARTING)
    with pytest.raises(ValueError, match="Stop it before"):
        runs.delete(run.run_id)
    run.move(RunState.FAILED)
    runs.delete(run.run_id)
    assert runs.ids() == []
    assert runs.restore(run.run_id).spec == quick_spec
    runs.delete(run.run_id)
    assert runs.empty_trash() == 1
    with pytest.raises(RunNotFound):
        runs.restore(run.run_id)


def test_only_the_newest_previews_are_kept_and_a_run_never_goes(runs, quick_spec):
    previews = [runs.create(quick_spec, purpose="preview", nonce=f"preview-{number}") for number in range(4)]
    for preview in previews[:3]:
        preview.move(RunState.CANCELLED)
    run = runs.create(quick_spec)
    run.move(RunState.CANCELLED)
    assert runs.drop_previews(keep=1) == 2
    assert runs.ids() == [previews[2].run_id, previews[3].run_id, run.run_id]
    os.utime(runs.root / ".nonces" / "preview-0", (0, 0))  # as old as a preview that is dropped
    again = runs.create(quick_spec, purpose="preview", nonce="preview-0")
    assert again.run_id not in [preview.run_id for preview in previews]


def test_asking_twice_is_asking_once(runs, quick_spec):
    run = runs.create(quick_spec)
    run.ask("pause")
    run.ask("pause")
    assert run.asked("pause")
    run.withdraw_request("pause")
    assert not run.asked("pause")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": "flying"}', b"\xff\xfe"])
def test_a_damaged_status_is_told_not_thrown(runs, quick_spec, content):
    run = runs.create(quick_spec)
    (run.path / "status.json").write_bytes(content)
    assert run.status().state == RunState.LOST
    assert run.status().reason_code == "status_unreadable"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}"])
def test_a_damaged_birth_is_one_sentence(runs, quick_spec, content):
    run = runs.create(quick_spec)
    (run.path / "spec.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"spec\.json"):
        _ = run.record
    assert run.title() == run.run_id


def test_a_run_of_a_newer_version_says_so(runs, quick_spec):
    run = runs.create(quick_spec)
    record = json.loads((run.path / "spec.json").read_text())
    (run.path / "spec.json").write_text(json.dumps(record | {"schema_version": 99}))
    with pytest.raises(ValueError, match="newer version"):
        _ = run.record


def test_a_run_from_before_the_class_rule_keeps_its_split(runs, quick_spec):
    run = runs.create(quick_spec)
    assert run.spec.dataset.class_rule == "count_images"
    record = json.loads((run.path / "spec.json").read_text())
    del record["spec"]["dataset"]["class_rule"]
    (run.path / "spec.json").write_text(json.dumps(record))
    assert run.spec.dataset.class_rule == "count_classes"
    assert run.spec.changed({"budget.steps": 3}).dataset.class_rule == "count_classes"


def test_the_watched_sample_comes_back_as_it_was(runs, quick_spec):
    run = runs.create(quick_spec)
    assert run.watch() is None
    arrays = {"ids": np.arange(3, dtype=np.uint32), "labels": np.zeros(3, int), "held_out": np.zeros(3, bool)}
    names = {"dataset": "digits", "total": 9, "class_names": ["<b>"], "image_names": ["1", "2", "3"]}
    run.write_watch(arrays, names)
    again, told = run.watch()
    assert again["ids"].tolist() == [0, 1, 2]
    assert told == names


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06" + b"\0" * 18])
def test_a_damaged_sample_is_told_and_written_anew(runs, quick_spec, data):
    run = runs.create(quick_spec)
    arrays = {"ids": np.arange(1), "labels": np.zeros(1, int), "held_out": np.zeros(1, bool)}
    names = {"dataset": "digits", "total": 9, "class_names": ["a"], "image_names": ["1"]}
    run.write_watch(arrays, names)
    (run.path / "watch.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"watch\.npz"):
        run.watch()
    run.write_watch(arrays, names)
    assert run.watch()[1] == names


def test_a_runs_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        Runs(tmp_path / "file")


def test_nothing_half_made_is_ever_listed(runs, quick_spec):
    (runs.root / ".making-x").mkdir()
    (runs.root / "notes").mkdir()
    run = runs.create(quick_spec)
    assert runs.ids() == [run.run_id]
    assert os.listdir(run.path / "attempts") == []
