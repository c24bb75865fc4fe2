"""What every declared data set owes its callers. A new one is tested here without an edit."""

import subprocess
import sys

import numpy as np
import pytest

from mlcore.data import DATASETS, load

pytestmark = pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS.keys())


def test_table_carries_the_key_and_title_it_is_declared_with(spec):
    table = load(spec.key)
    assert (table.key, table.title) == (spec.key, spec.title)


def test_every_image_is_named_and_no_two_names_are_equal(spec):
    names = load(spec.key).image_names
    assert all(names)
    assert len(set(names)) == len(names)


def test_no_image_stands_twice(spec):
    images = [image.tobytes() for image in load(spec.key).pixels]
    assert len(set(images)) == len(images)


def test_every_class_has_enough_images_to_be_searched(spec):
    assert np.bincount(load(spec.key).labels).min() >= 10


def test_images_use_the_whole_range_of_grey_values(spec):
    pixels = load(spec.key).pixels
    assert pixels.min() <= 20
    assert pixels.max() == 255


def test_loading_again_gives_the_same_table(spec):
    again = spec.build().read()
    assert load(spec.key) is load(spec.key)
    assert again.fingerprint == load(spec.key).fingerprint
    assert again.image_names == load(spec.key).image_names


def test_origin_and_licence_are_sentences(spec):
    table = load(spec.key)
    assert table.origin.endswith(".")
    assert table.licence.endswith(".")


def test_first_line_of_its_text_says_how_many_images_of_what_size(spec):
    table = load(spec.key)
    line = spec.description.splitlines()[0]
    assert f"{table.image_size[0]} x {table.image_size[1]} px" in line
    assert str(len(table.class_names)) in line
    assert ("grey" if table.channels == 1 else "colour") in line


def test_misspelt_setting_is_refused(spec):
    with pytest.raises(ValueError, match="there is no 'colour_of_the_sky'"):
        load(spec.key, colour_of_the_sky=1)


def test_loads_without_torch_or_scikit_learn(spec):
    read = f"import sys; from mlcore.data import load; load({spec.key!r})"
    code = read + "; print(sorted({'torch', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
