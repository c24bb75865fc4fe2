"""Rows of a query and what a search returned, before and now."""

import numpy as np

from app.lab.retrieval import find_neighbours, hardest_queries, picked_row, query_places, rank_words, result_rows
from app.lab.snapshots import WatchSample

SAMPLE = WatchSample(
    ids=np.array([10, 20, 30, 40, 50]),
    labels=np.array([0, 0, 1, 1, 1]),
    held_out=np.array([False, False, True, True, True]),
    class_names=("a", "<b>"),
    image_names=tuple("vwxyz"),
    dataset="digits",
    total=5,
)
BEFORE = {
    "neighbours": np.array([[1, 2], [0, 2], [0, 1], [4, 2], [3, -1]]),
    "similarities": np.full((5, 2), 0.5),
}
NOW = {
    "neighbours": np.array([[1, 2], [0, 2], [0, 3], [4, 2], [3, -1]]),
    "similarities": np.full((5, 2), 0.5),
}


def test_a_neighbour_of_the_same_class_is_a_hit_and_a_missing_one_is_not():
    expected = [[True, False], [True, False], [False, False], [True, True], [True, False]]
    assert find_neighbours(BEFORE["neighbours"], SAMPLE.labels).tolist() == expected


def test_the_hardest_queries_have_fewest_hits_first():
    found = find_neighbours(BEFORE["neighbours"], SAMPLE.labels)
    assert hardest_queries(found, np.array([2, 3, 4])).tolist() == [2, 4, 3]


def test_queries_come_from_the_side_that_is_asked_for():
    assert set(query_places(SAMPLE, BEFORE["neighbours"], "hardest", "train", (), 0)) == {0, 1}
    assert set(query_places(SAMPLE, BEFORE["neighbours"], "random", "held_out", (), 0)) == {2, 3, 4}


def test_pinned_queries_are_found_by_their_id_and_strangers_are_left_out():
    assert query_places(SAMPLE, BEFORE["neighbours"], "pinned", "held_out", (40, 99, 10), 0).tolist() == [3, 0]


def test_a_row_tells_right_from_wrong_and_what_changed():
    (row,) = result_rows(SAMPLE, np.array([2]), NOW, BEFORE, "Step 40")
    assert [strip.title for strip in row.strips] == ["Before training", "Step 40"]
    assert (row.title, row.tiles[0].id, row.tiles[0].frame) == ("<b>", 30, "query")
    past, present = row.strips
    assert [tile.frame for tile in past.tiles] == ["wrong", "wrong"]
    assert [(tile.id, tile.frame) for tile in present.tiles] == [(10, "wrong"), (40, "right")]
    assert row.note == "0 → 1 of 2 right; first right one: none of 2 → rank 2"


def test_before_training_there_is_one_strip():
    (row,) = result_rows(SAMPLE, np.array([4]), BEFORE, None)
    assert [strip.title for strip in row.strips] == ["Before training"]
    assert len(row.strips[0].tiles) == 1
    assert row.note == "1 of 2 right"


def test_a_gallery_is_searched_and_not_asked():
    neighbours = np.array([[1, 2], [0, 2], [3, 4], [-1, -1], [-1, -1]])
    assert query_places(SAMPLE, neighbours, "hardest", "held_out", (), 0).tolist() == [2]


def test_no_more_can_be_right_than_the_class_has_others_on_that_side():
    assert rank_words(SAMPLE, 0, None, NOW) == "1 of 1 right"  # two neighbours are shown, one other is of its class
    assert rank_words(SAMPLE, 3, None, NOW) == "2 of 2 right"


def test_a_picked_image_comes_with_its_nearest_ones():
    row = picked_row(SAMPLE, 2, NOW)
    assert [(tile.id, tile.frame) for tile in row.tiles] == [(30, "query"), (10, "wrong"), (40, "right")]
