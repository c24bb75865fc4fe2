"""Whatever befalls a file of a run, its readers say so in a ValueError or leave it out, and never fail otherwise."""

from __future__ import annotations

import contextlib

import pytest
from damage import copied, damages, field_damages, files_of, spoil, trained_run

from mlcore.runs.folder import RunFolder, Runs
from mlcore.runs.history import History

FILES = [
    "spec.json",
    "status.json",
    "label.json",
    "watch.json",
    "watch.npz",
    "thumbs/atlas.json",
    "thumbs/atlas",
    "result.json",
    "attempts/001/claim.json",
    "attempts/001/heartbeat",
    "attempts/001/events-000.jsonl",
    "attempts/001/manifest.jsonl",
    "attempts/001/layouts/manifest.jsonl",
    "attempts/001/layouts/umap-2d/000000.npy",
    "attempts/001/snapshots/000000.npz",
    "attempts/001/checkpoints/000004.safetensors",
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return trained_run(tmp_path_factory.mktemp("good") / "runs")


def test_every_file_of_a_run_is_known_here(good):
    others = {name for name in files_of(good) if name not in FILES}
    assert {name.rpartition("/")[0] for name in others} <= {
        "attempts/001/snapshots",
        "attempts/001/checkpoints",
        "attempts/001/layouts/umap-2d",
    }
    assert set(FILES) <= set(files_of(good))


def read_all(run: RunFolder) -> None:
    """Everything that a page, a command or the supervisor may ask of a run."""
    readers = [lambda: run.record, lambda: run.spec, run.watch]
    past = History(run)
    past.refresh()
    past.faults()
    for attempt, entry in past.snapshots.values():
        readers.append(lambda attempt=attempt, entry=entry: attempt.read_arrays(entry))
    for attempt, entry in past.layouts.values():
        if "file" in entry:
            readers.append(lambda attempt=attempt, entry=entry: attempt.read_arrays(entry, "layouts"))
    for attempt in run.attempts():
        attempt.beat()
        readers += [lambda attempt=attempt, entry=entry: attempt.read_bytes(entry) for entry in attempt.checkpoints()]
    for read in readers:
        with contextlib.suppress(ValueError):
            read()
    assert run.purpose in ("run", "preview")
    assert run.title()
    for read in (
        run.status,
        run.stored_status,
        run.label,
        run.atlas,
        run.atlas_bytes,
        run.result,
        run.size_bytes,
        run.log_end,
    ):
        read()


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_told_or_left_out(good, tmp_path, file):
    run = copied(good, tmp_path)
    for _, data in [*damages(run.path / file), *field_damages(run.path / file)]:
        spoil(run, file, data)
        read_all(run)
    spoil(run, file, (good.path / file).read_bytes())
    read_all(run)


def test_a_damaged_run_can_be_listed_deleted_and_brought_back(good, tmp_path):
    run = copied(good, tmp_path)
    (run.path / "spec.json").unlink()
    runs = Runs(tmp_path)
    assert [found.run_id for found in runs.all()] == [run.run_id]
    runs.delete(run.run_id)
    assert runs.ids() == []
    runs.restore(run.run_id)
    assert runs.ids() == [run.run_id]


def test_damaged_lines_are_counted(good, tmp_path):
    run = copied(good, tmp_path)
    with (run.path / "attempts/001/events-000.jsonl").open("ab") as file:
        file.write(b'{"kind":"step","step":"five"}\nnot json\n[]\n')
    past = History(run)
    past.refresh()
    assert past.faults() == ["3 damaged lines are left out."]
    assert len(past.steps) == 4
