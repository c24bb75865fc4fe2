"""All runs as one table, read again only where something changed."""

import pandas as pd

from app.runs_table import RunsTable, matching
from mlcore.runs.states import RunState


def test_previews_are_left_out_and_the_newest_run_is_first(runs, quick_spec):
    first = runs.create(quick_spec)
    runs.create(quick_spec, purpose="preview")
    second = runs.create(quick_spec.changed({"name": "mine"}))
    table = RunsTable(runs).rows()
    assert list(table["id"]) == [second.run_id, first.run_id]
    assert list(table["name"]) == ["mine", "ArcFace on digits"]


def test_a_row_follows_its_run(runs, quick_spec):
    run = runs.create(quick_spec)
    table = RunsTable(runs)
    assert table.rows().iloc[0]["state"] == "waiting"
    run.move(RunState.STARTING)
    run.move(RunState.RUNNING, metrics={"held_out": {"map_at_r": 0.6}, "curve": [[0, 0.2], [4, 0.6]]})
    run.set_label(name="renamed", note="good")
    row = table.rows().iloc[0]
    assert (row["state"], row["name"], row["note"], row["MAP@R"], row["curve"]) == (
        "running",
        "renamed",
        "good",
        0.6,
        [0.2, 0.6],
    )
    assert abs(row["change"] - 0.4) < 1e-9


def test_nothing_is_read_again_that_has_not_changed(runs, quick_spec, monkeypatch):
    runs.create(quick_spec)
    table = RunsTable(runs)
    table.rows()
    monkeypatch.setattr("app.runs_table.read_row", lambda run: 1 / 0)
    assert len(table.rows()) == 1


def test_a_damaged_run_has_a_row_that_says_so(runs, quick_spec):
    run = runs.create(quick_spec)
    (run.path / "spec.json").write_bytes(b"{")
    assert RunsTable(runs).rows().iloc[0]["name"] == "damaged run"


def test_a_run_whose_loss_is_gone_is_still_listed(runs, quick_spec):
    run = runs.create(quick_spec)
    text = (run.path / "spec.json").read_text().replace("arcface", "old_loss")
    (run.path / "spec.json").write_text(text)
    assert RunsTable(runs).rows().iloc[0]["loss"] == "old_loss"


def test_filtering_needs_every_word_somewhere():
    columns = ["name", "data", "backbone", "loss", "note", "state"]
    table = pd.DataFrame(
        [["One", "digits", "mlp", "ArcFace", None, "done"], ["Two", "glyphs", "mlp", "CosFace", "x", "lost"]],
        columns=columns,
    )
    assert list(matching(table, "mlp arc", [])["name"]) == ["One"]
    assert list(matching(table, "MLP", ["lost"])["name"]) == ["Two"]
    assert matching(table, "(", []).empty
    assert len(matching(table, "", [])) == 2
