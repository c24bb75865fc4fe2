"""Imported sets: found, opened without being read, refused when they were changed, and trained on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from image_files import classes, image_bytes, picture, tree

from mlcore.commands.training import key_of_set
from mlcore.data import load, store
from mlcore.data.importing import import_path
from mlcore.data.store import (
    SetFacts,
    all_sets,
    data_root,
    delete_set,
    find_set,
    full_titles,
    open_set,
    own_key,
    read_left_out,
    read_set,
    rename_set,
)
from mlcore.data.thumbnails import draw_atlas
from mlcore.spec.run_spec import RunSpec
from mlcore.training.events import TrainingFault
from mlcore.training.loop import Trainer
from mlcore.training.prepare import load_table, prepare


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    read_set.cache_clear()
    return tmp_path / "data"


@pytest.fixture
def own(tmp_path):
    return classes(tmp_path / "own", 6, 8)


def spec_for(key, **more):
    record = {
        "dataset": key,
        "backbone": "small_conv",
        "head": {"embedding_size": 8},
        "loss": {"key": "arcface", "params": {"scale": 16.0}},
        "sampler": {"key": "m_per_class", "batch_size": 8},
        "budget": {"steps": 3},
        "watch": {"evaluate_every": 3, "points": 30},
    }
    return RunSpec.read(record | more)


def test_the_root_is_beside_the_runs(monkeypatch, tmp_path):
    monkeypatch.delenv("LAB_DATA")
    monkeypatch.setenv("LAB_RUNS", str(tmp_path / "lab" / "runs"))
    assert data_root() == tmp_path / "lab" / "data"


def test_a_set_opens_as_a_table_that_stays_on_the_disk(own):
    folder = import_path(own, title="Own")
    table = open_set(folder.name)
    base = table.pixels
    while getattr(base, "base", None) is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not table.pixels.flags.writeable
    assert (table.key, table.title, len(table)) == (folder.name, "Own", 48)
    assert table.class_names == tuple(f"c{n}" for n in range(6))
    assert table.image_names[9] == "c1/1.png"
    assert table.labels.tolist() == [row // 8 for row in range(48)]
    assert table.fingerprint == find_set("Own").fingerprint
    assert table.parents is None
    assert table.splits is None
    assert table.texts == ()


def test_parents_splits_and_folds_are_the_tables(tmp_path):
    text = "file,label,parent,split,fold\na.png,x,p,train,0\nb.png,y,q,test,1\nc.png,z,p,query,\n"
    files = {f"{name}.png": image_bytes(picture(n)) for n, name in enumerate("abc")}
    folder = import_path(tree(tmp_path / "t", {**files, "t.csv": text.encode()}) / "t.csv")
    table = open_set(folder.name)
    assert table.parents.tolist() == [0, 1, 0]
    assert table.parent_names == ("p", "q")
    assert table.splits.tolist() == ["train", "test", "query"]
    assert table.folds.tolist() == [0, 1, -1]


def test_texts_are_the_tables_and_empty_where_an_image_has_none(tmp_path):
    text = "file,label,text\na.png,x,a red ball\nb.png,y,\n"
    files = {f"{name}.png": image_bytes(picture(n)) for n, name in enumerate("ab")}
    folder = import_path(tree(tmp_path / "t", {**files, "t.csv": text.encode()}) / "t.csv")
    assert open_set(folder.name).texts == ("a red ball", "")


def test_two_parents_of_one_class_are_not_used(tmp_path):
    text = "file,label,parent\na.png,x,p\nb.png,x,q\n"
    files = {f"{name}.png": image_bytes(picture(n)) for n, name in enumerate("ab")}
    folder = import_path(tree(tmp_path / "t", {**files, "t.csv": text.encode()}) / "t.csv")
    assert open_set(folder.name).parents is None
    assert any("Parents are not used" in note for note in find_set(folder.name).notes)


def test_a_set_is_found_by_id_end_of_id_and_title(own):
    folder = import_path(own, title="My photos")
    for text in (folder.name, folder.name[-6:], folder.name.upper(), "My photos"):
        assert find_set(text).folder == folder
    with pytest.raises(ValueError, match="no imported set 'nothing'"):
        find_set("nothing")


def test_sets_of_one_title_are_told_apart_and_none_is_taken_for_another(own, tmp_path):
    shutil.make_archive(str(tmp_path / "photos"), "zip", own)
    by_folder = import_path(own, title="Photos")
    by_zip = import_path(tmp_path / "photos.zip", title="photos")
    alone = import_path(own, title="Alone")
    titles = full_titles(all_sets())
    assert titles[by_folder.name].startswith(f"Photos ({own.name}, ")
    assert titles[by_zip.name].startswith("photos (photos.zip, ")
    assert titles[by_zip.name].endswith(", 48 images)")
    assert titles[alone.name] == "Alone"
    assert full_titles([find_set(alone.name)], ["alone"])[alone.name].startswith("Alone (")
    rename_set(by_zip.name, "Photos")
    for act in (find_set, delete_set, key_of_set, lambda text: rename_set(text, "Mine")):
        with pytest.raises(ValueError, match=f"2 sets are meant by 'Photos'.*{by_folder.name}"):
            act("Photos")
    assert len(all_sets()) == 3


def test_sets_that_came_in_one_way_at_one_time_are_told_apart_by_their_ids(own):
    facts = find_set(import_path(own).name)
    twin = dataclasses.replace(facts, id="set-000000000000")
    assert len(set(full_titles([facts, twin]).values())) == 2


def test_a_set_is_renamed_and_deleted(own, root):
    folder = import_path(own)
    before = open_set(folder.name)
    assert rename_set(folder.name, "Shoes").title == "Shoes"
    assert open_set("Shoes").fingerprint == before.fingerprint
    with pytest.raises(ValueError, match="1 to 120"):
        rename_set("Shoes", " ")
    delete_set("Shoes")
    assert all_sets() == []
    assert os.listdir(root) == []
    assert before.pixels[0].shape == (24, 24, 3)


@pytest.mark.parametrize("name", ["pixels.npy", "index.parquet"])
def test_a_changed_set_is_refused(own, name):
    folder = import_path(own)
    data = bytearray((folder / name).read_bytes())
    place = data.find(b"c0/0.png") if name == "index.parquet" else len(data) - 1
    data[place] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match="not the ones that were imported"):
        open_set(folder.name)


def test_a_set_that_was_copied_is_still_the_same(own):
    folder = import_path(own)
    os.utime(folder / "pixels.npy", (1, 1))
    assert len(open_set(folder.name)) == 48
    stamp = json.loads((folder / "set.json").read_text())["stamp"]
    assert ":1000000000 " in stamp


@pytest.mark.parametrize("name", ["pixels.npy", "index.parquet"])
def test_a_set_that_lacks_a_file_is_refused(own, name):
    folder = import_path(own)
    (folder / name).unlink()
    with pytest.raises(ValueError, match="Import it again"):
        open_set(folder.name)


def test_folders_that_are_no_sets_are_passed_over(own, root):
    import_path(own)
    (root / "set-000000000000").mkdir()
    (root / "set-111111111111").mkdir()
    (root / "set-111111111111" / "set.json").write_text("{}")
    (root / "other").mkdir()
    assert len(all_sets()) == 1


def test_load_takes_a_key_an_id_or_a_path(own, monkeypatch, tmp_path):
    table = load(str(own))
    assert load(table.key) is load(table.key)
    assert load(table.key).fingerprint == table.fingerprint
    monkeypatch.chdir(tmp_path)
    assert load("own").key == load("./own").key == table.key
    assert len(load("digits")) == 1797
    with pytest.raises(ValueError, match="Did you mean 'glyphs'"):
        load("glyph")
    with pytest.raises(ValueError, match="nothing to set"):
        load(table.key, level=2)


def test_a_run_may_name_an_id_or_a_path(own):
    assert spec_for("set-0123456789ab").dataset.key == "set-0123456789ab"
    assert spec_for(str(own)).dataset.key == str(own)
    assert spec_for(str(own)).title() == "ArcFace on own"
    folder = import_path(own, title="Photos")
    assert spec_for(folder.name).title() == "ArcFace on Photos"
    assert RunSpec.from_text(spec_for(folder.name).to_yaml()) == spec_for(folder.name)
    assert spec_for("digits").changed({"dataset": folder.name}).dataset.key == folder.name


def test_a_relative_path_in_a_run_is_made_absolute(own, monkeypatch):
    monkeypatch.chdir(own.parent)
    assert spec_for("own/").dataset.key == str(own)
    assert own_key("glyph") is None


@pytest.mark.parametrize("key", ["glyph", "set-xyz", "nothing"])
def test_a_run_refuses_a_key_that_is_nothing(key):
    with pytest.raises(ValueError, match="no data set"):
        spec_for(key)


def test_a_run_refuses_knobs_of_own_images(own):
    with pytest.raises(ValueError, match="nothing to set"):
        RunSpec.read({"dataset": {"key": str(own), "params": {"level": 2}}})


def test_a_run_trains_on_a_set_that_stays_on_the_disk(own, monkeypatch):
    folder = import_path(own)
    trainer = Trainer(prepare(spec_for(folder.name)))
    kinds = [event.kind for event in trainer.events()]
    assert kinds.count("step") == 3
    assert "evaluated" in kinds
    assert trainer.prepared.features.source.pixels is trainer.prepared.table.pixels


def test_pixels_of_a_file_train_exactly_as_pixels_in_memory(own):
    table = load(str(own))

    def losses():
        return [event.loss for event in Trainer(prepare(spec_for(str(own)))).events() if event.kind == "step"]

    mapped = losses()
    pixels = np.array(table.pixels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(table.__dict__, "pixels", pixels)
        assert losses() == mapped


def test_a_run_refuses_a_set_that_changed_or_is_gone(own):
    folder = import_path(own)
    spec = spec_for(folder.name).changed({"dataset.fingerprint": find_set(folder.name).fingerprint})
    assert len(load_table(spec)) == 48
    with pytest.raises(TrainingFault, match="not those that this run was made with"):
        load_table(spec.changed({"dataset.fingerprint": "0" * 64}))
    delete_set(folder.name)
    with pytest.raises(TrainingFault, match="cannot be read"):
        load_table(spec)


def test_thumbnails_of_some_rows_are_those_of_the_rows(own):
    pixels = open_set(import_path(own).name).pixels
    rows = np.array([40, 3, 7])
    for tile in (24, 10):
        assert draw_atlas(pixels, tile, rows).data == draw_atlas(np.array(pixels[rows]), tile).data


def test_what_was_left_out_is_kept(own):
    tree(own, {"c0/x.txt": b"x"})
    assert read_left_out(import_path(own)).file.tolist() == ["c0/x.txt"]


def test_a_set_whose_record_goes_while_it_is_opened_is_told(tmp_path, monkeypatch):
    facts = SetFacts(tmp_path, "own-1", "Shop", {}, {}, 8, "RGB", "", "2026-01-01", {}, [])
    monkeypatch.setattr(store, "find_set", lambda text, root=None: facts)
    monkeypatch.setattr(store, "set_stamp", lambda folder: "as it was")
    with pytest.raises(ValueError, match=r"Shop: cannot be read: its set\.json is gone"):
        store.open_set("Shop")
