"""Whatever befalls a file of a run: its page says so, the list goes on, and another run's page is whole."""

from __future__ import annotations

import errno

import pytest
from damage import copied, damages, files_of, spoil, trained_run
from pages_words import shows_results, words

from app.lab import launch
from app.server import read_slots
from app.shared.view import HELD
from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.states import RunState


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return trained_run(tmp_path_factory.mktemp("good") / "runs")


def spoilt_runs(good: RunFolder, runs: Runs, files: list[str]) -> dict[str, RunFolder]:
    """A copy of the good run for each thing that may befall each of its files, by what that is."""
    made = {}
    for file in files:
        for name, data in damages(good.path / file):
            run = copied(good, runs.root)
            spoil(run, file, data)
            made[f"{file}: {name}"] = run
    return made


def show(test, run: RunFolder) -> str:
    """All that the Lab says about a run."""
    test.session_state[HELD].view = test.session_state[HELD].view.__class__(run=run.run_id)
    test.query_params["run"] = run.run_id
    test.run()
    assert not test.exception
    said = words(test)
    assert "met a fault" not in said
    return said


SAYS = ("damaged", "missing", "cannot be read", "newer version", "cannot be understood", "cannot be shown")
TOLD = ("spec.json", "watch.json", "watch.npz")  # without these there is nothing to draw


@pytest.mark.parametrize(
    "file",
    [
        "spec.json",
        "status.json",
        "label.json",
        "watch.json",
        "watch.npz",
        "thumbs/atlas.json",
        "thumbs/atlas",
        "attempts/001/events-000.jsonl",
        "attempts/001/manifest.jsonl",
        "attempts/001/layouts/manifest.jsonl",
        "attempts/001/layouts/umap-2d/000004.npy",
        "attempts/001/snapshots/000000.npz",
        "attempts/001/snapshots/000004.npz",
    ],
)
def test_the_lab_opens_a_run_with_a_damaged_file(open_page, good, runs, file):
    whole = copied(good, runs.root)
    made = spoilt_runs(good, runs, [file])
    test = open_page("lab", run=whole.run_id)
    assert shows_results(test)
    for what, run in made.items():
        said = show(test, run)
        if file in TOLD and "flipped" not in what:  # a letter of a name may be another and nobody can tell
            assert any(word in said for word in SAYS), what
    show(test, whole)
    assert shows_results(test)


def test_the_runs_page_lists_every_damaged_run_beside_the_good_one(open_page, good, runs):
    whole = copied(good, runs.root)
    made = spoilt_runs(good, runs, files_of(good))
    test = open_page("runs")
    table = test.dataframe[0].value.set_index("id")
    assert "met a fault" not in words(test)
    assert {run.run_id for run in made.values()} <= set(table.index)
    row = table.loc[whole.run_id]
    assert (row["name"], row["state"], row["note"]) == ("a good run", "done", "worth keeping")
    assert 0 < row["MAP@R"] < 1
    gone = table.loc[made["spec.json: gone"].run_id]
    assert (gone["name"], gone["note"]) == ("damaged run", "spec.json is missing or damaged")
    assert table.loc[made["status.json: all []"].run_id, "state"] == "lost"


def test_a_list_of_damaged_runs_only_is_a_list(open_page, good, runs):
    run = copied(good, runs.root)
    spoil(run, "spec.json", b"[]")
    table = open_page("runs").dataframe[0].value
    assert table["name"].tolist() == ["damaged run"]


def test_a_sample_without_names_is_told_once_and_the_page_rests(open_page, good, runs):
    run = copied(good, runs.root)
    spoil(run, "watch.json", None)
    said = words(open_page("lab", run=run.run_id))  # AppTest gives up on a page that runs again for ever
    assert "watch.json, which names its images, is missing" in said.replace("\\", "")


def test_a_damaged_first_step_leaves_the_others_and_says_so(open_page, good, runs):
    run = copied(good, runs.root)
    spoil(run, "attempts/001/snapshots/000000.npz", b"PK")
    test = open_page("lab", run=run.run_id)
    said = words(test).replace("\\", "")
    assert "Step 0 cannot be shown: snapshots/000000.npz is damaged" in said
    assert shows_results(test)


def test_nothing_can_be_written_and_the_lab_opens_to_be_looked_at(open_page, good, runs, monkeypatch):
    run = copied(good, runs.root)
    monkeypatch.setattr(Runs, "write_fault", lambda self: "The disk of the runs folder is full. Free some space.")
    test = open_page("lab", run=run.run_id)
    said = words(test)
    assert shows_results(test)
    assert "nothing can be started" in said
    assert test.button(key="lab.start").disabled
    assert "full" in test.button(key="lab.start").help
    empty = open_page("lab")
    assert "none can be made now" in words(empty)
    assert runs.all("preview") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_told_when_the_preview_is_made(open_page, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, "it refuses")

    monkeypatch.setattr(Runs, "create", refuse)
    test = open_page("lab")
    assert "it refuses" in words(test) or "The disk is full" in words(test)
    test.button(key="lab.start").click().run()
    assert not test.exception
    assert test.toast


def test_a_full_or_closed_folder_is_known(runs, monkeypatch):
    assert runs.write_fault() == ""
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda path, mode: False)
        assert "cannot be written to" in runs.write_fault()
    monkeypatch.setattr(Runs, "free_bytes", lambda self: 4096)
    assert "is full" in runs.write_fault()


def test_a_runs_folder_that_is_a_file_is_told_on_every_page(open_page, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")

    class Elsewhere(Runs):
        def __init__(self, root):
            super().__init__(tmp_path / "file")

    monkeypatch.setattr("app.server.Runs", Elsewhere)
    test = open_page("lab")
    assert "is a file" in words(test)
    assert not test.button


@pytest.mark.parametrize("text", ["abc", "0", "-1", "1.5", "9" * 40, "²"])
def test_a_number_of_slots_that_is_none_is_told(open_page, monkeypatch, text):
    with pytest.raises(ValueError, match="LAB_SLOTS"):
        read_slots(text)
    monkeypatch.setenv("LAB_SLOTS", text)
    assert "LAB_SLOTS" in words(open_page("lab")).replace("\\", "")


def test_a_usual_number_of_slots_is_taken():
    assert [read_slots(text) for text in ("", " ", "3")] == [None, None, 3]


def test_undo_brings_back_what_it_can_and_says_what_it_cannot(open_page, good, runs):
    kept, lost = copied(good, runs.root), copied(good, runs.root)
    for run in (kept, lost):
        runs.delete(run.run_id)
    runs.restore(lost.run_id)
    test = open_page("runs")
    test.session_state["runs.trashed"] = [kept.run_id, lost.run_id]
    test.run()
    test.button(key="runs.undo").click().run()
    assert not test.exception
    assert {run.run_id for run in runs.all()} == {kept.run_id, lost.run_id}
    assert "no longer in the trash" in test.toast[0].value.replace("\\", "")


def test_what_nobody_expected_is_a_sentence_and_a_line_in_the_log(open_page, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(launch, "start_words", fail)
    monkeypatch.setattr("app.lab.launch.seconds_per_step", fail)
    said = words(open_page("lab"))
    assert "a fault that it does not know" in said
    number = said.partition("“fault ")[2][:8]
    assert any(number in record.getMessage() and record.exc_info for record in caplog.records)


def test_a_run_that_failed_without_a_picture_says_why(open_page, runs, quick_spec):
    run = runs.create(quick_spec)
    run.move(RunState.STARTING)
    run.move(RunState.FAILED, reason_text="It ended <b>early</b>.")
    assert r"\<b\>early" in words(open_page("lab", run=run.run_id))
