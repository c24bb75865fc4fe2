"""All runs as one table, read again only where something changed."""

import os

import pandas as pd

from app.runs.runs_table import NO_TRAINING, RunsTable, filter_rows, with_no_training, without_shared_settings
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
    run = runs.create(quick_spec)
    for path in run.path.glob("*.json"):
        os.utime(path, (1e9, 1e9))  # what has just been written may be written again within one tick of the clock
    table = RunsTable(runs)
    table.rows()
    monkeypatch.setattr("app.runs.runs_table.read_row", lambda run: 1 / 0)
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
    columns = ["name", "data", "backbone", "loss", "settings", "note", "together", "state"]
    rows = [
        ["One", "digits", "mlp", "ArcFace", "margin 0.3 rad", None, "", "done"],
        ["Two", "glyphs", "mlp", "CosFace", "", "x", "", "lost"],
    ]
    table = pd.DataFrame(rows, columns=columns)
    assert list(filter_rows(table, "mlp arc", [])["name"]) == ["One"]
    assert list(filter_rows(table, "MLP", ["lost"])["name"]) == ["Two"]
    assert list(filter_rows(table, "margin 0.3", [])["name"]) == ["One"]
    assert filter_rows(table, "(", []).empty
    assert len(filter_rows(table, "", [])) == 2


def looked_at(run, score, none):
    run.move(RunState.STARTING)
    run.move(RunState.RUNNING, metrics={"held_out": {"map_at_r": score}, "no_training": {"map_at_r": none}})
    return run


def test_no_training_has_one_row_for_each_data_set_split_and_backbone(runs, quick_spec):
    looked_at(runs.create(quick_spec), 0.5, 0.31)
    looked_at(runs.create(quick_spec.changed({"loss": "cosface", "head.embedding_size": 4})), 0.6, 0.31)
    looked_at(runs.create(quick_spec.changed({"dataset.held_out": 0.25})), 0.7, 0.32)
    looked_at(runs.create(quick_spec.changed({"backbone.feature_size": 64})), 0.4, 0.33)
    newest = looked_at(runs.create(quick_spec), 0.5, 0.34)
    waiting = runs.create(quick_spec.changed({"backbone": "small_conv"}))
    (runs.create(quick_spec).path / "spec.json").write_bytes(b"{")
    table = RunsTable(runs).rows()
    shown = with_no_training(table)
    none = shown[shown["id"].str.startswith(NO_TRAINING)]
    assert sorted(none["MAP@R"]) == [0.32, 0.33, 0.34]
    assert none["id"].is_unique
    assert set(none["name"]) == {"No training · Two-layer perceptron"}
    assert list(shown["id"])[1:4] == [waiting.run_id, newest.run_id, none["id"].iloc[0]]
    assert len(shown) == len(table) + 3
    assert shown["MAP@R"].dtype == float
    assert shown["started"].dtype == table["started"].dtype
    pd.testing.assert_frame_equal(shown.drop(none.index).reset_index(drop=True), table)


def test_without_a_figure_there_is_no_such_row(runs, quick_spec):
    assert with_no_training(RunsTable(runs).rows()).empty
    runs.create(quick_spec)
    table = RunsTable(runs).rows()
    assert len(with_no_training(table)) == 1


def test_an_official_split_and_a_fold_are_held_apart_from_drawn_ones(runs, quick_spec):
    from app.runs.runs_table import comparison_group

    record = quick_spec.model_dump(mode="json")

    def group(**changes):
        return comparison_group(record | {"dataset": record["dataset"] | changes})

    assert group(fingerprint="x") == group()
    assert group(split="official", held_out=0.3) == group(split="official")
    assert len({group(), group(split="official"), group(split="fold"), group(split="fold", fold=2)}) == 4


def test_runs_that_were_started_together_stay_together_whatever_is_noted(runs, quick_spec):
    together = "2 losses, 27 Nov 08:52:24"
    for loss in ("arcface", "contrastive"):
        runs.create(quick_spec.changed({"loss": loss})).set_label(note=together, started_together=together)
    runs.create(quick_spec.changed({"seed": 1}))
    runs.all()[0].set_label(note="the better one")
    found = filter_rows(RunsTable(runs).rows(), together, [])
    assert sorted(found["loss"]) == ["ArcFace", "Contrastive"]


def test_what_runs_of_a_kind_share_is_left_out_of_what_they_differ_in():
    rows = [
        ("digits", "mlp", "ArcFace", "margin 0.3 rad · head mlp · 1,500 steps · seed 0"),
        ("digits", "mlp", "ArcFace", "margin 0.5 rad · head mlp · 1,500 steps · seed 0"),
        ("glyphs", "mlp", "ArcFace", "margin 0.5 rad · 60 steps · seed 0"),
        ("digits", None, "ArcFace", ""),
    ]
    table = pd.DataFrame(rows, columns=["data", "backbone", "loss", "settings"])
    left = without_shared_settings(table)["settings"].tolist()
    assert left == ["margin 0.3 rad", "margin 0.5 rad", "margin 0.5 rad · 60 steps · seed 0", ""]
    assert without_shared_settings(table.iloc[:0]).empty
