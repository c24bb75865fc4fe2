"""Several sets as one."""

import pandas as pd
import pytest

from mlcore.data.prepare import complete_index, merge, shared_labels


def sets(parents=("p", "p")):
    one = complete_index(pd.DataFrame({"file": ["1.png", "2.png"], "label": ["x", "y"], "parent": [parents[0], ""]}))
    other = complete_index(pd.DataFrame({"file": ["1.png"], "label": ["x"], "parent": [parents[1]]}))
    return {"shop": one, "home": other}


def test_files_tell_their_set_and_rows_stay_those_of_their_set():
    merged = merge(sets())
    assert merged["file"].tolist() == ["shop/1.png", "shop/2.png", "home/1.png"]
    assert merged["row"].tolist() == [0, 1, 0]
    assert merged["set"].tolist() == ["shop", "shop", "home"]
    assert merged["label"].tolist() == ["x", "y", "x"]


def test_classes_of_one_name_can_be_kept_apart_with_their_parents():
    merged = merge(sets(), same_labels="apart")
    assert merged["label"].tolist() == ["shop/x", "shop/y", "home/x"]
    assert merged["parent"].tolist() == ["shop/p", "", "home/p"]


def test_names_in_several_sets_are_told():
    assert shared_labels(sets()) == ["x"]


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(ValueError, match="one parent; 'x' has p and q"):
        merge(sets(parents=("p", "q")))
    merge(sets(parents=("p", "q")), same_labels="apart")
    with pytest.raises(ValueError, match="'join' or 'apart'; got 'mix'"):
        merge(sets(), same_labels="mix")
    with pytest.raises(ValueError, match="at least one set"):
        merge({})
