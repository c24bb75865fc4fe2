"""The features of a frozen backbone: computed once, the same numbers as ever, never taken where they are not whole."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import os

import numpy as np
import pytest
import torch

from mlcore.__main__ import main
from mlcore.analysis.evaluate_run import evaluate_run
from mlcore.data import feature_cache as disk
from mlcore.data import load
from mlcore.data.feature_cache import all_kept, features_root, lock_features, open_kept
from mlcore.disk.atomic import DiskFull
from mlcore.engines.attempt_runner import run_folder
from mlcore.training import cached_features as kept
from mlcore.training.before_first_step import compute_features
from mlcore.training.evaluator import Evaluator
from mlcore.training.feature_source import CHUNK, FeatureReader, FeatureSource, PixelSource
from mlcore.training.loop import Trainer
from mlcore.training.prepare import prepare


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def spec(quick_spec):
    return quick_spec.changed({"threads": 1, "backbone": "small_conv", "backbone.freeze": "everything"})


def of_kind(events, kind):
    return [event for event in events if event.kind == kind]


def told(spec, **how):
    trainer = Trainer(prepare(spec), **how)
    events = list(trainer.events())
    return trainer.prepared, events


def figures(events):
    steps = [(event.step, event.loss, event.grad_norm) for event in of_kind(events, "step")]
    return steps, [(e.step, e.held_out, e.backbone) for e in of_kind(events, "evaluated")]


def wanted_by(spec):
    prepared = prepare(spec)
    return kept.request_features(prepared.table, spec.backbone, prepared.model, prepared.device)


def never(rows):
    raise AssertionError("computed although they are there")


def test_runs_with_features_from_disk_and_from_memory_are_equal_to_the_last_bit(spec, monkeypatch):
    monkeypatch.setenv("LAB_FEATURES_MB", "0")
    _, without = told(spec)
    assert not features_root().exists()
    monkeypatch.delenv("LAB_FEATURES_MB")
    _, first = told(spec)
    monkeypatch.setattr(FeatureReader, "read_frozen", lambda self, rows: never(rows))
    prepared, second = told(spec)
    assert figures(without) == figures(first) == figures(second)
    assert of_kind(first, "progress")
    assert not of_kind(second, "warning")
    assert isinstance(prepared.features.source, FeatureSource)
    (entry,) = all_kept()
    assert (entry.record["title"], entry.record["shape"]) == ("Digits", [1797, 128])


def test_they_are_what_the_frozen_backbone_gives(spec):
    prepared, _ = told(spec)
    rows = np.array([5, 1700, 3])
    with torch.no_grad():
        again = prepare(spec)
        expected = again.features.source.features(again.model, rows)
    torch.testing.assert_close(prepared.features.source.features(prepared.model, rows), expected)


def test_a_resumed_run_goes_on_with_the_very_same_features(spec):
    _, whole = told(spec)
    saved = of_kind(whole, "checkpoint")[0]
    _, rest = told(spec, resume_from=saved.data)
    assert figures(rest)[0] == figures(whole)[0][saved.step :]
    assert len(all_kept()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"backbone.pooling": "max"},
        {"backbone.feature_size": 64},
        {"backbone": "mlp"},
        {"dataset": "glyphs"},
    ],
    ids=str,
)
def test_other_weights_images_or_pooling_are_other_features(spec, change):
    assert wanted_by(spec.changed({"backbone.freeze": "everything"} | change)).digest != wanted_by(spec).digest


@pytest.mark.parametrize("change", [{"loss": "contrastive"}, {"head.embedding_size": 4}, {"dataset.held_out": 0.2}])
def test_what_comes_after_the_backbone_does_not_matter(spec, change):
    assert wanted_by(spec.changed(change)).digest == wanted_by(spec).digest


def test_pretrained_weights_are_the_same_with_any_seed_and_another_input_size_is_not(spec):
    lite = spec.changed({"backbone": "efficientnet_lite0", "backbone.freeze": "everything"})
    assert wanted_by(lite).digest == wanted_by(lite.changed({"seed": 5})).digest
    assert wanted_by(lite).digest != wanted_by(lite.changed({"backbone.side": 40})).digest


def test_changed_images_and_another_device_are_other_features(spec):
    prepared = prepare(spec)
    pixels = load("digits").pixels.copy()
    pixels[0, 0, 0] += 1
    changed = dataclasses.replace(prepared.table, pixels=pixels)
    wanted = [
        kept.request_features(table, spec.backbone, prepared.model, torch.device(device))
        for table, device in ((prepared.table, "cpu"), (changed, "cpu"), (prepared.table, "cuda"))
    ]
    assert len({one.digest for one in wanted}) == 3


def small(rows=300, columns=3):
    return disk.FeatureRequest({"table": "t"}, rows, columns)


def numbers(rows, columns=3):
    return (rows[:, None] * 10 + np.arange(columns)).astype(np.float32)


def outcome(generator):
    """What a generator yields, and what it returns."""
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as end:
            return events, end.value


def made(wanted=None, compute=numbers, stopped=lambda: False):
    return outcome(kept.kept_features(wanted or small(), "Test", compute, stopped))


def test_a_second_reader_computes_nothing_and_cannot_write(tmp_path):
    _, first = made()
    events, second = made(compute=never)
    assert events == []
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(second, numbers(np.arange(300)))
    with pytest.raises(ValueError, match="read-only"):
        second[0, 0] = 1.0


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: os.truncate(folder / "features.npy", 200),
        lambda folder: (folder / "features.npy").unlink(),
        lambda folder: (folder / "facts.json").write_bytes(b"{"),
        lambda folder: (folder / "facts.json").write_bytes(b"[]"),
        lambda folder: flip(folder / "features.npy", 1000),
        lambda folder: flip(folder / "features.npy", 20),
    ],
    ids=["cut off", "gone", "facts torn", "facts of another kind", "a flipped bit", "a flipped bit in the head"],
)
def test_damaged_features_are_told_and_made_anew(harm):
    made()
    harm(small().folder)
    events, found = made()
    assert "computed anew" in of_kind(events, "warning")[0].text
    np.testing.assert_array_equal(found, numbers(np.arange(300)))
    assert made(compute=never)[0] == []


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_touched_file_is_read_once_and_then_trusted(monkeypatch):
    made()
    os.utime(small().folder / "features.npy", (1, 1))
    assert made(compute=never)[0] == []
    monkeypatch.setattr(disk, "file_sha256", lambda path: 1 / 0)
    assert made(compute=never)[0] == []


def test_a_killed_computation_is_not_taken_for_whole_and_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(disk, "CHECKPOINT_S", 0.0)
    generator = kept.kept_features(small(), "Test", numbers, lambda: False)
    list(itertools.islice(generator, 2))
    generator.close()
    assert open_kept(small()) is None
    with (small().making / "features.npy").open("ab") as file:
        file.write(b"half a row")
    asked = []
    _, found = made(compute=lambda rows: asked.append(rows[0]) or numbers(rows))
    assert asked == [2 * CHUNK]
    np.testing.assert_array_equal(found, numbers(np.arange(300)))


def test_less_on_the_disk_than_was_named_is_begun_anew(monkeypatch):
    monkeypatch.setattr(disk, "CHECKPOINT_S", 0.0)
    generator = kept.kept_features(small(), "Test", numbers, lambda: False)
    list(itertools.islice(generator, 2))
    generator.close()
    os.truncate(small().making / "features.npy", 500)
    _, found = made()
    np.testing.assert_array_equal(found, numbers(np.arange(300)))


def test_a_stopped_computation_keeps_what_it_has():
    calls = itertools.count()
    events, found = made(stopped=lambda: next(calls) > 1)
    assert found is None
    assert disk.rows_made(small()) == 2 * CHUNK
    assert [event.done for event in events] == [CHUNK, 2 * CHUNK]


def test_of_two_that_want_the_same_the_second_waits_and_computes_nothing(monkeypatch):
    monkeypatch.setattr(kept, "LOOK_S", 0.0)
    first = kept.kept_features(small(), "Test", numbers, lambda: False)
    second = kept.kept_features(small(), "Test", never, lambda: False)
    next(first)
    assert next(second).text == kept.WAITING
    outcome(first)
    events, found = outcome(second)
    assert not of_kind(events, "warning")
    np.testing.assert_array_equal(found, numbers(np.arange(300)))


def test_one_who_waits_hears_a_stop_and_gives_up_on_one_who_does_not_get_on(monkeypatch):
    monkeypatch.setattr(kept, "LOOK_S", 0.0)
    with lock_features(small()):
        wish = iter([False, False, True])
        events, found = made(stopped=lambda: next(wish))
        assert found is None
        assert len(events) == 2
        monkeypatch.setattr(kept, "PATIENCE_S", 0.0)
        events, found = made()
        assert "does not get on" in of_kind(events, "warning")[0].text
        np.testing.assert_array_equal(found, numbers(np.arange(300)))


def test_a_full_disk_is_told_and_the_rest_is_held_in_memory(monkeypatch):
    monkeypatch.setattr(disk, "CHECKPOINT_S", 0.0)
    rooms = iter([None, None, DiskFull("The disk of x has 3 MB free.")])

    def check_room(self, count):
        found = next(rooms)
        if found:
            raise found

    monkeypatch.setattr(disk.FeatureWriter, "check_room", check_room)
    events, found = made()
    assert "has 3 MB free" in of_kind(events, "warning")[0].text
    np.testing.assert_array_equal(found, numbers(np.arange(300)))
    assert not small().making.exists()
    assert all_kept() == []


def test_a_data_root_that_cannot_be_written_costs_the_keeping_only(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "file"))
    events, found = made()
    assert "not kept" in of_kind(events, "warning")[0].text
    np.testing.assert_array_equal(found, numbers(np.arange(300)))


def test_what_was_not_asked_for_longest_makes_room(monkeypatch):
    half = disk.FeatureRequest({"table": "a"}, 10, 50_000)  # 2 MB each
    monkeypatch.setenv("LAB_FEATURES_MB", "5")
    wanted = [dataclasses.replace(half, facts={"table": name}) for name in "abc"]
    for place, one in enumerate(wanted[:2]):
        made(one, lambda rows: numbers(rows, 50_000))
        os.utime(one.folder / "facts.json", (place, place))
    made(wanted[0], never)  # asked for again, so the other is older
    made(wanted[2], lambda rows: numbers(rows, 50_000))
    assert [one.folder.exists() for one in wanted] == [True, False, True]
    monkeypatch.setenv("LAB_FEATURES_MB", "1")
    events, _ = made(wanted[1], lambda rows: numbers(rows, 50_000))
    assert "LAB_FEATURES_MB allows 1" in of_kind(events, "warning")[0].text


def test_what_was_begun_and_left_is_removed_unless_somebody_is_at_it(monkeypatch):
    left, busy = (disk.FeatureRequest({"table": name}, 300, 3) for name in ("left", "busy"))
    for one in (left, busy):
        one.making.mkdir(parents=True)
        os.utime(one.making, (1, 1))
    with lock_features(busy):
        made()
    assert [one.making.exists() for one in (left, busy)] == [False, True]


def test_a_limit_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("LAB_FEATURES_MB", "lots")
    with pytest.raises(ValueError, match="whole number of megabytes"):
        made()


def test_they_are_listed_and_removed_from_the_command_line(spec, capsys):
    assert main(["data", "--features"]) == 0
    assert "No kept features" in capsys.readouterr().out
    told(spec)
    assert main(["data", "--features"]) == 0
    assert "small_conv on Digits" in capsys.readouterr().out
    assert main(["data", "--features", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["shape"], listed["backbone"], listed["deleted"]) == ([1797, 128], "small_conv", False)
    assert main(["data", "glyphs", "--features"]) == 2
    capsys.readouterr()
    assert main(["data", "--features", "--delete"]) == 0
    assert all_kept() == []


def test_a_look_copies_the_head_only_and_holds_the_features_once(spec, monkeypatch):
    prepared = prepare(spec)
    list(compute_features(prepared, 0, lambda: False))
    source = prepared.features.source
    evaluator = Evaluator(
        prepared.table,
        prepared.split,
        prepared.sample,
        source,
        prepared.classes,
    )
    copied = []
    deep = copy.deepcopy
    monkeypatch.setattr(copy, "deepcopy", lambda thing: copied.append(thing) or deep(thing))
    features, embeddings = evaluator._embed(prepared.model.head, keep_features=True)
    assert features is source.table
    assert embeddings.shape == (1797, 8)
    evaluator.evaluate(0, prepared.model, None)
    evaluator.wait()
    assert copied == [prepared.model.head]
    assert {event.kind for event in evaluator.drain_events()} == {"snapshot", "evaluated"}


def test_evaluating_a_run_again_takes_them_from_the_disk(spec, runs, monkeypatch):
    run = runs.create(spec)
    assert run_folder(run) == 0
    from_pixels = PixelSource.features
    monkeypatch.setattr(PixelSource, "features", lambda *_: 1 / 0)
    again = evaluate_run(run)
    assert again["figures"]["map_at_r"] == pytest.approx(run.status().metrics["held_out"]["map_at_r"], abs=1e-4)
    assert again["no_training"] == run.status().metrics["no_training"]
    (features_root() / wanted_by(spec).digest / "facts.json").unlink()
    monkeypatch.setattr(PixelSource, "features", from_pixels)
    assert evaluate_run(run)["figures"]["map_at_r"] == pytest.approx(again["figures"]["map_at_r"], abs=1e-4)
