"""Near-duplicates against a double loop over all pairs."""

import numpy as np
import pandas as pd
import pytest

from mlcore.data.prepare import complete_index, leave_out, near_duplicates
from mlcore.data.prepare import duplicates as room
from mlcore.data.prepare.duplicates import KINDS


def toy(seed, count=120, bases=12, flips=8):
    """Hashes that lie around a few centres, in a few classes and both sides of a split."""
    generator = np.random.default_rng(seed)
    centres = generator.integers(0, 2**63, size=bases)
    hashes = []
    for centre in generator.choice(centres, size=count).tolist():
        for bit in generator.integers(0, 64, size=generator.integers(0, flips + 1)).tolist():
            centre ^= 1 << bit
        hashes.append(f"{centre:016x}")
    return complete_index(
        pd.DataFrame(
            {
                "file": [f"{n}.png" for n in range(count)],
                "label": generator.choice(list("abc"), size=count),
                "split": generator.choice(["train", "test", "gallery", ""], size=count),
                "hash": hashes,
            }
        )
    )


def bits_apart(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


def kind_by_hand(one, other):
    away = [row.split in ("test", "gallery") for row in (one, other)]
    if away[0] != away[1]:
        return "across_splits"
    return "within_class" if one.label == other.label else "across_classes"


def pairs_by_hand(index, distance):
    rows = list(index.itertuples())
    return {
        (i, j, bits_apart(rows[i].hash, rows[j].hash), kind_by_hand(rows[i], rows[j]))
        for j in range(len(rows))
        for i in range(j)
        if bits_apart(rows[i].hash, rows[j].hash) <= distance
    }


def left_out_by_hand(index, distance, kinds, spare):
    rows = list(index.itertuples())
    order = sorted(
        range(len(rows)), key=lambda n: (rows[n].file not in spare, rows[n].split not in ("test", "gallery"), n)
    )
    staying, gone = [], {}
    for n in order:
        near = [
            m
            for m in staying
            if bits_apart(rows[m].hash, rows[n].hash) <= distance and kind_by_hand(rows[m], rows[n]) in kinds
        ]
        if near and rows[n].file not in spare:
            gone[n] = min(bits_apart(rows[m].hash, rows[n].hash) for m in near)
        else:
            staying.append(n)
    return gone


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distance", [0, 3, 8])
@pytest.mark.parametrize("block", [16, 4096])
def test_every_pair_is_found_and_no_other(seed, distance, block, monkeypatch):
    monkeypatch.setattr(room, "block_bounds", lambda n: ((s, min(s + block, n)) for s in range(0, n, block)))
    index = toy(seed)
    found = near_duplicates(index, distance)
    assert found.complete
    pairs = found.pairs[["first", "second", "distance", "kind"]].itertuples(index=False, name=None)
    expected = pairs_by_hand(index, distance)
    assert expected
    assert sorted(pairs) == sorted(expected)
    assert found.counts() == {kind: sum(pair[3] == kind for pair in expected) for kind in KINDS}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kinds", [KINDS, ("within_class",), ("across_classes", "across_splits")])
@pytest.mark.parametrize("block", [16, 4096])
def test_what_is_left_out_is_what_a_loop_in_order_leaves_out(seed, kinds, block, monkeypatch):
    monkeypatch.setattr(room, "block_bounds", lambda n: ((s, min(s + block, n)) for s in range(0, n, block)))
    index, spare = toy(seed), ("3.png", "7.png", "11.png")
    pairs = leave_out(index, 5, kinds, spare).pairs
    expected = left_out_by_hand(index, 5, kinds, spare)
    assert len(expected) > 3
    assert dict(zip(pairs["second"].tolist(), pairs["distance"].tolist(), strict=True)) == expected
    assert not set(pairs["first"]) & set(pairs["second"])
    assert set(pairs["kind"]) <= set(kinds)


@pytest.mark.parametrize("seed", range(3))
def test_once_they_are_gone_none_is_left(seed):
    index = toy(seed)
    rest = index.drop(index=leave_out(index, 6).pairs["second"]).reset_index(drop=True)
    assert near_duplicates(rest, 6).pairs.empty


def test_the_held_out_one_stays_and_the_training_image_leaves():
    index = toy(0, count=2)
    index["hash"], index["split"] = "0123456789abcdef", ["train", "query"]
    pair = leave_out(index).pairs.iloc[0]
    assert (pair["first"], pair["second"], pair["kind"]) == (1, 0, "across_splits")


def test_a_chain_of_small_changes_is_not_one_image():
    index = toy(0, count=3)
    index["label"], index["split"] = "a", ""
    index["hash"] = [f"{number:016x}" for number in (0, 0b1111, 0b11111111)]
    assert leave_out(index, 4).pairs["second"].tolist() == [1]
    assert near_duplicates(index, 4).groups() == [[0, 1, 2]]


def test_groups_are_rows_joined_by_pairs():
    index = toy(0, count=5)
    index["hash"] = [f"{number:016x}" for number in (0, 2**40 - 1, 1, 2**63, 2**40 - 2)]
    assert near_duplicates(index, 2).groups() == [[0, 2, 3], [1, 4]]


def test_thousands_of_equal_images_do_not_become_millions_of_pairs():
    index = toy(0, count=3000, bases=1, flips=0)
    found = near_duplicates(index, 4, limit=500)
    assert not found.complete
    assert len(found.pairs) == 500
    assert len(leave_out(index, 4, ("across_classes", "within_class", "across_splits")).pairs) == 2999


def test_pairs_are_shown_leaks_first_and_then_the_nearest():
    shown = near_duplicates(toy(1), 6).shown(toy(1))
    ranks = shown["kind"].map(KINDS[::-1].index)
    assert ranks.is_monotonic_increasing
    assert shown.groupby("kind")["distance"].apply(lambda bits: bits.is_monotonic_increasing).all()
    first = shown.iloc[0]
    assert first["first_file"] == f"{first['first']}.png"


@pytest.mark.parametrize("text", ["", "123", "0123456789abcdeg", "0123456789abcde "])
def test_row_without_a_hash_is_refused_by_name(text):
    index = toy(0, count=3)
    index.loc[1, "hash"] = text
    with pytest.raises(ValueError, match=r"needs a hash of 16 hex digits; 1\.png has"):
        near_duplicates(index)


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="distance must be 0 to 16 of 64 bits; got 20"):
        near_duplicates(toy(0), 20)
    with pytest.raises(ValueError, match=r"a kind is one of within_class, .*; got 'colour'"):
        leave_out(toy(0), 3, ("colour",))


@pytest.mark.parametrize("seed", range(3))
def test_with_two_names_both_stay_where_a_person_is_to_be_asked(seed):
    index = toy(seed)
    labels = index["label"].to_numpy()
    pairs = leave_out(index, 6, two_names="ask").pairs
    assert len(pairs)
    assert (labels[pairs["first"]] == labels[pairs["second"]]).all()
    staying = index.drop(index.index[pairs["second"]]).reset_index(drop=True)
    left = near_duplicates(staying, 6).pairs
    assert (staying["label"].to_numpy()[left["first"]] != staying["label"].to_numpy()[left["second"]]).all()
