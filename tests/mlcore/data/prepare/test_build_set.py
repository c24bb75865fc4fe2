"""A prepared index as a set of its own: its rows, their own pixels, and the split that a run will keep to."""

import numpy as np
import pytest
from PIL import Image

from mlcore.__main__ import main
from mlcore.data import split
from mlcore.data.importing import import_path
from mlcore.data.prepare import Plan, derive_set, merge, read_index
from mlcore.data.store import open_set, read_facts


def photos(folder, seed, mode="RGB", classes=6, each=5):
    generator = np.random.default_rng(seed)
    for number in range(classes * each):
        path = folder / f"class {number % classes}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, size=(20, 20, 3), dtype=np.uint8)).convert(mode).save(path)
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def shoes(tmp_path, root):
    return import_path(photos(tmp_path / "shoes", 0), root=root)


PLAN = Plan.read(
    {
        "steps": [
            {"step": "counts", "most": 4, "seed": 1},
            {"step": "split_classes", "held_out": 0.3},
            {"step": "query_gallery"},
            {"step": "folds", "count": 3},
        ]
    }
)


def test_each_row_keeps_its_pixels_and_gets_its_split_and_fold(shoes, root):
    done = PLAN.apply(read_index(shoes))[0]
    folder = derive_set(done, {"shoes": shoes}, "Clean shoes", plan=PLAN, root=root)
    table, before = open_set(folder.name, root), open_set(shoes.name, root)
    assert table.title == "Clean shoes"
    assert table.image_names == tuple(done["file"])
    assert np.array_equal(table.pixels, before.pixels[done["row"].to_numpy()])
    assert [table.class_names[label] for label in table.labels] == done["label"].tolist()
    assert table.splits.tolist() == done["split"].tolist()
    assert table.folds.tolist() == done["fold"].tolist()
    held = split(table.labels, "official", splits=table.splits).held_out
    assert held.tolist() == np.flatnonzero(done["split"] != "train").tolist()
    assert Plan.read(read_facts(folder).source["plan"]) == PLAN


def test_the_set_it_comes_from_stays_and_the_same_is_not_made_twice(shoes, root):
    done = PLAN.apply(read_index(shoes))[0]
    before = read_index(shoes)
    folder = derive_set(done, {"shoes": shoes}, "one", root=root)
    assert derive_set(done, {"shoes": shoes}, "one", root=root) == folder
    other = derive_set(done, {"shoes": shoes}, "two", root=root)
    assert read_facts(other).title == "two"
    assert (other / "pixels.npy").samefile(folder / "pixels.npy")
    assert folder != shoes
    assert read_index(shoes).equals(before)
    assert sorted(path.name for path in root.iterdir()) == sorted([shoes.name, folder.name, other.name])


def test_sets_are_merged_with_grey_and_coloured_images(shoes, tmp_path, root):
    boots = import_path(photos(tmp_path / "boots", 1, "L"), root=root)
    folders = {"boots": boots, "shoes": shoes}
    merged = merge({name: read_index(folder) for name, folder in folders.items()}, same_labels="apart")
    table = open_set(derive_set(merged, folders, "both", root=root).name, root)
    assert len(table.class_names) == 12
    assert np.array_equal(table.pixels[30:], open_set(shoes.name, root).pixels)
    assert np.array_equal(table.pixels[:30], open_set(boots.name, root).pixels.repeat(3, axis=3))


def test_what_cannot_be_made_is_refused(shoes, tmp_path, root):
    index = read_index(shoes)
    with pytest.raises(ValueError, match="must be an imported set"):
        derive_set(index, {"shoes": tmp_path}, "x", root=root)
    with pytest.raises(ValueError, match="rows of 'shoes' must be 0 to 29; got 1 to 30"):
        derive_set(index.assign(row=index["row"] + 1), {"shoes": shoes}, "x", root=root)
    small = import_path(photos(tmp_path / "small", 2), root=root, side=10)
    with pytest.raises(ValueError, match=r"one side; they have 20 \(shoes\) and 10 \(small\) px"):
        derive_set(index.assign(set="shoes"), {"shoes": shoes, "small": small}, "x", root=root)
    with pytest.raises(ValueError, match="rows of 'hats', which is none of shoes, boots"):
        derive_set(index.assign(set="hats"), {"shoes": shoes, "boots": shoes}, "x", root=root)


def test_from_the_command_line_a_set_is_found_by_its_title_and_the_new_one_named(shoes, root, capsys):
    assert main(["prepare", "shoes", "--split", "class:0.5", "--save", "halves"]) == 0
    said = capsys.readouterr().out
    new = next(path for path in root.iterdir() if path != shoes)
    assert f"New set: {new.name}. Train on it: python -m mlcore train --dataset {new.name} " in said
    assert said.rstrip().endswith("--set dataset.split=official")
    assert set(open_set(new.name, root).splits) == {"train", "test"}
