"""The field's benchmarks, each as a tiny tree in its original layout."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from mlcore.data import split
from mlcore.data.importing import import_path
from mlcore.data.prepare import read_index
from mlcore.data.sources import SOURCES, ImageEntry, SkippedEntry, source_for
from mlcore.data.store import open_set

PHOTO = io.BytesIO()
Image.fromarray(np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)).save(PHOTO, "JPEG")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cub(folder):
    """Classes 99 to 102, two images each."""
    rows = [(n, 99 + n // 2) for n in range(8)]
    names = {number: f"{number:03}.Bird_{number}" for number in range(99, 103)}
    files = [f"{names[label]}/Bird_{n:04}.jpg" for n, label in rows]
    write(folder / "classes.txt", "".join(f"{number} {name}\n" for number, name in names.items()))
    write(folder / "images.txt", "".join(f"{n + 1} {file}\n" for (n, _), file in zip(rows, files, strict=True)))
    write(folder / "image_class_labels.txt", "".join(f"{n + 1} {label}\n" for n, label in rows))
    write(folder / "bounding_boxes.txt", "".join(f"{n + 1} {n}.5 1.0 4.2 5.0\n" for n, _ in rows))
    write(folder / "train_test_split.txt", "".join(f"{n + 1} {n % 2}\n" for n, _ in rows))
    for file in files:
        write(folder / "images" / file, PHOTO.getvalue())
    return {"train": (4, 2), "test": (4, 2)}


def mat(path, variables):
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables)


def cars_rows(numbers, name, start=0):
    kinds = [(corner, "O") for corner in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")] + [("class", "O"), (name, "O")]
    folder = "car_ims/" if name == "relative_im_path" else ""
    rows = [(1, 2, 8, 9, number, f"{folder}{n:05}.jpg") for n, number in enumerate(numbers, start + 1)]
    return np.array(rows, dtype=kinds).reshape(1, -1)


def car_names():
    names = np.empty((1, 196), dtype=object)
    names[0] = [f"Car {number}" for number in range(1, 197)]
    return names


def cars(folder):
    """The official halves, each with classes 97 to 100: what is to be divided by class."""
    mat(folder / "devkit/cars_train_annos.mat", {"annotations": cars_rows([97, 98, 99, 100, 97], "fname")})
    mat(folder / "cars_test_annos_withlabels.mat", {"annotations": cars_rows([100, 99, 98], "fname")})
    mat(folder / "devkit/cars_meta.mat", {"class_names": car_names()})
    for half, count in (("cars_train", 5), ("cars_test", 3)):
        for n in range(1, count + 1):
            write(folder / half / f"{n:05}.jpg", PHOTO.getvalue())
    return {"train": (4, 2), "test": (4, 2)}


def cars_in_one(folder):
    numbers = [97, 98, 99, 100, 97, 100, 99, 98]
    mat(
        folder / "cars_annos.mat",
        {"annotations": cars_rows(numbers, "relative_im_path"), "class_names": car_names()},
    )
    for n in range(1, len(numbers) + 1):
        write(folder / "car_ims" / f"{n:05}.jpg", PHOTO.getvalue())
    return {"train": (4, 2), "test": (4, 2)}


def sop(folder):
    for side, first in (("train", 1), ("test", 4)):
        lines = ["image_id class_id super_class_id path"]
        for n in range(6):
            product, kind = first + n // 2, "bicycle" if n < 4 else "coffee_maker"
            file = f"{kind}_final/{product}_{n % 2}.JPG"
            lines.append(f"{n + 1} {product} 1 {file}")
            write(folder / file, PHOTO.getvalue())
        write(folder / f"Ebay_{side}.txt", "\n".join(lines))
    return {"train": (6, 3), "test": (6, 3)}


def inshop(folder):
    rows = [
        ("WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train"),
        ("WOMEN/Dresses/id_00000002/02_2_side.jpg", "id_00000002", "train"),
        ("MEN/Denim/id_00000001/01_1_front.jpg", "id_00000001", "query"),
        ("MEN/Denim/id_00000001/01_2_side.jpg", "id_00000001", "gallery"),
        ("WOMEN/Shorts/id_00000007/01_1_front.jpg", "id_00000007", "query"),
        ("WOMEN/Skirts/id_00000007/01_2_side.jpg", "id_00000007", "gallery"),
        ("WOMEN/Shorts/id_00000007/01_3_back.jpg", "id_00000007", "gallery"),
    ]
    lines = [f"{len(rows)}", "image_name item_id evaluation_status"]
    lines += [f"img/{file}      {piece} {side}" for file, piece, side in rows]
    write(folder / "Eval/list_eval_partition.txt", "\n".join(lines))
    for file, _, _ in rows:
        write(folder / "Img/img" / file, PHOTO.getvalue())
    return {"train": (2, 1), "query": (2, 2), "gallery": (3, 2)}


def inat(folder):
    for side, species in (("train", ["Aves/2761", "Plantae/7477"]), ("test", ["Aves/2762", "Fungi/5601"])):
        files = [f"train_val2018/{name}/{n}.jpg" for name in species for n in range(3)]
        write(folder / "Inat_dataset_splits" / f"Inaturalist_{side}_set1.txt", "\n".join(files))
        for file in files:
            write(folder / file, PHOTO.getvalue())
    return {"train": (6, 2), "test": (6, 2)}


LAYOUTS = {"cub200": cub, "cars196": cars, "sop": sop, "inshop": inshop, "inat2018": inat}
every_benchmark = pytest.mark.parametrize("key", LAYOUTS)
every_layout = pytest.mark.parametrize(
    ("key", "make"), [*LAYOUTS.items(), ("cars196", cars_in_one)], ids=[*LAYOUTS, "cars_in_one"]
)


def found_in(path, key, **knobs):
    return list(source_for(path, key, check_counts=False, **knobs)[1].find())


@every_layout
def test_the_lab_knows_the_layout_by_its_files_and_counts_what_is_there(key, make, tmp_path, monkeypatch):
    monkeypatch.setattr(SOURCES[key].load(), "counts", make(tmp_path))
    known, source = source_for(tmp_path)
    assert known == key
    found = list(source.find())
    assert all(isinstance(item, ImageEntry) for item in found)
    assert all(source.open(item.file) == PHOTO.getvalue() for item in found)
    assert all(source.stamp(item.file) for item in found)


@every_benchmark
def test_the_folder_above_serves_too(key, tmp_path):
    LAYOUTS[key](tmp_path / SOURCES[key].load().folder)
    assert source_for(tmp_path, check_counts=False)[0] == key


@every_benchmark
def test_copy_with_other_counts_is_refused_with_both_and_the_way_out(key, tmp_path):
    LAYOUTS[key](tmp_path)
    with pytest.raises(
        ValueError, match=r"are expected; its lists have train \d images of \d classes.*check_counts off"
    ):
        source_for(tmp_path, key)


@every_benchmark
def test_folder_without_the_benchmarks_files_is_refused_with_their_names(key, tmp_path):
    with pytest.raises(ValueError, match=r"must be a folder with .*\.(txt|mat)"):
        source_for(tmp_path, key)


@every_layout
def test_imported_the_official_split_is_the_zero_shot_one(key, make, tmp_path):
    make(tmp_path / "own")
    folder = import_path(tmp_path / "own", knobs={"check_counts": False}, source=key, root=tmp_path / "data", side=8)
    table = open_set(folder.name, tmp_path / "data")
    parts = split(table.labels, "official", splits=table.splits)
    trained, held = set(table.labels[parts.train]), set(table.labels[parts.held_out])
    assert trained
    assert held
    assert not trained & held
    index = read_index(folder)
    assert (index["split"].to_numpy() == "train").sum() == len(parts.train)
    assert index["parent"].ne("").all() == (key in ("sop", "inshop", "inat2018"))


def test_cub_divides_between_classes_100_and_101_and_calls_them_by_name(tmp_path):
    cub(tmp_path)
    found = found_in(tmp_path, "cub200")
    assert [(item.label, item.split) for item in found[2:6]] == [("100.Bird_100", "train")] * 2 + [
        ("101.Bird_101", "test")
    ] * 2
    assert found[0].file == "images/099.Bird_99/Bird_0000.jpg"
    assert found[0].box is None


def test_cub_boxes_are_given_by_their_corners(tmp_path):
    cub(tmp_path)
    assert [item.box for item in found_in(tmp_path, "cub200", boxes=True)][:2] == [(0, 1, 5, 6), (1, 1, 6, 6)]


@pytest.mark.parametrize("make", [cars, cars_in_one])
def test_both_halves_of_cars_are_divided_between_classes_98_and_99(make, tmp_path):
    make(tmp_path)
    found = found_in(tmp_path, "cars196", boxes=True)
    assert sorted({(item.label, item.split) for item in found}) == [
        ("Car 100", "test"),
        ("Car 97", "train"),
        ("Car 98", "train"),
        ("Car 99", "test"),
    ]
    assert {item.box for item in found} == {(1, 2, 8, 9)}


def test_cars_whose_folders_are_unpacked_into_themselves_are_found(tmp_path):
    cars(tmp_path)
    for half in ("cars_train", "cars_test"):
        os.rename(tmp_path / half, tmp_path / "inner")
        (tmp_path / half).mkdir()
        os.rename(tmp_path / "inner", tmp_path / half / half)
    source = source_for(tmp_path, check_counts=False)[1]
    assert all(source.open(item.file) for item in source.find())


def test_cars_without_names_are_called_by_their_numbers(tmp_path):
    cars(tmp_path)
    (tmp_path / "devkit/cars_meta.mat").unlink()
    assert {item.label for item in found_in(tmp_path, "cars196")} == {f"class {n:03}" for n in (97, 98, 99, 100)}


def test_cars_test_list_without_classes_is_not_taken_for_the_one_with(tmp_path):
    cars(tmp_path)
    os.rename(tmp_path / "cars_test_annos_withlabels.mat", tmp_path / "devkit/cars_test_annos.mat")
    with pytest.raises(ValueError, match=r"cars_test_annos\.mat has no classes"):
        source_for(tmp_path, "cars196")


def test_products_have_their_kind_as_parent(tmp_path):
    sop(tmp_path)
    assert {(item.label, item.parent) for item in found_in(tmp_path, "sop")} == {
        *((product, "bicycle") for product in "1245"),
        *((product, "coffee_maker") for product in "36"),
    }


def test_clothes_keep_query_and_gallery_and_one_parent_each(tmp_path):
    inshop(tmp_path)
    found = found_in(tmp_path, "inshop")
    assert [item.split for item in found] == ["train", "train", "query", "gallery", "query", "gallery", "gallery"]
    assert {(item.label, item.parent) for item in found} == {
        ("id_00000001", "MEN/Denim"),
        ("id_00000002", "WOMEN/Dresses"),
        ("id_00000007", "WOMEN/Shorts"),
    }


def test_species_of_one_number_in_two_kingdoms_stay_apart(tmp_path):
    inat(tmp_path)
    found = found_in(tmp_path, "inat2018")
    assert {(item.label, item.parent, item.split) for item in found} == {
        ("Aves/2761", "Aves", "train"),
        ("Plantae/7477", "Plantae", "train"),
        ("Aves/2762", "Aves", "test"),
        ("Fungi/5601", "Fungi", "test"),
    }


def test_image_that_a_list_names_and_that_is_not_there_is_left_out_by_name(tmp_path):
    sop(tmp_path / "own")
    (tmp_path / "own/bicycle_final/1_0.JPG").unlink()
    folder = import_path(tmp_path / "own", knobs={"check_counts": False}, source="sop", root=tmp_path / "data", side=8)
    assert "bicycle_final/1_0.JPG" not in set(read_index(folder)["file"])
    assert len(read_index(folder)) == 11


@pytest.mark.parametrize(
    ("key", "file", "content", "message"),
    [
        ("cub200", "images.txt", "9 no.jpg\n", r"images\.txt: image 9 must have a class"),
        ("cub200", "images.txt", "9\n", r"images\.txt, line 1: must have 2 fields; got '9'"),
        ("cub200", "classes.txt", b"\xff\xfe", "is not text in UTF-8"),
        ("cub200", "image_class_labels.txt", "1 one\n", "image 1 must have a class with a name"),
        ("cars196", "devkit/cars_train_annos.mat", b"MATLAB 5.0, and then nothing", "cannot be read as a MATLAB file"),
        ("cars196", "devkit/cars_train_annos.mat", b"", "cannot be read as a MATLAB file"),
        ("sop", "Ebay_test.txt", "heading\n1 2 3\n", r"Ebay_test\.txt, line 2: must have 4 fields"),
        ("sop", "Ebay_test.txt", "heading\n1 two 3 a/b.jpg\n", "must have whole numbers .* got 'two'"),
        ("inshop", "Eval/list_eval_partition.txt", "1\nheading\nimg/a/b/c.jpg id_1 exam\n", "is for 'exam'"),
        ("inat2018", "Inat_dataset_splits/Inaturalist_test_set1.txt", "a.jpg\n", "line 1: must name a photo"),
    ],
)
def test_damaged_list_is_refused_with_its_name_and_line(key, file, content, message, tmp_path):
    LAYOUTS[key](tmp_path)
    write(tmp_path / file, content)
    with pytest.raises(ValueError, match=message):
        found_in(tmp_path, key)


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "a/../../b/c.jpg"])
def test_list_that_leads_out_of_the_folder_is_not_followed(name, tmp_path):
    sop(tmp_path)
    write(tmp_path / "Ebay_test.txt", f"heading\n1 2 3 {name}\n")
    last = found_in(tmp_path, "sop")[-1]
    assert isinstance(last, SkippedEntry)
    with pytest.raises(ValueError, match="Its name"):
        source_for(tmp_path, "sop", check_counts=False)[1].open(name)


def test_annotations_without_classes_are_refused(tmp_path):
    cars(tmp_path)
    rows = np.array([(1, "00001.jpg")], dtype=[("bbox_x1", "O"), ("fname", "O")]).reshape(1, -1)
    mat(tmp_path / "cars_test_annos_withlabels.mat", {"annotations": rows})
    with pytest.raises(ValueError, match="annotations must have class; they have bbox_x1, fname"):
        found_in(tmp_path, "cars196")


@pytest.mark.parametrize(("number", "name"), [(float("nan"), "a.jpg"), (1.5, "a.jpg"), ("97", "a.jpg"), (97, 3)])
def test_annotation_that_is_none_is_refused(number, name, tmp_path):
    cars(tmp_path)
    rows = np.array([(number, name)], dtype=[("class", "O"), ("fname", "O")]).reshape(1, -1)
    mat(tmp_path / "cars_test_annos_withlabels.mat", {"annotations": rows})
    with pytest.raises(ValueError, match="must have a name and whole numbers"):
        found_in(tmp_path, "cars196")


def test_numbers_that_matlab_kept_as_fractions_are_whole_all_the_same(tmp_path):
    cars(tmp_path)
    rows = np.array([(98.0, "00001.jpg")], dtype=[("class", "O"), ("fname", "O")]).reshape(1, -1)
    mat(tmp_path / "cars_test_annos_withlabels.mat", {"annotations": rows})
    assert found_in(tmp_path, "cars196")[-1].label == "Car 98"
