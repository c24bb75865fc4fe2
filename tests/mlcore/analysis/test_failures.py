"""Worst classes, confusions, hardest queries and doubted labels: small cases by hand, and planted errors."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.analysis.failures import BLOCK, Confusion, DoubtedLabel, doubt_labels, search_side
from mlcore.evaluation.retrieval import evaluate_retrieval, per_query


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


# A: 0, 4, 50 degrees; B: 53, 55, 90. Each has two others of its class, so R is 2.
SIX = on_circle(0, 4, 50, 53, 55, 90)
CLASSES = np.array([7, 7, 7, 2, 2, 2])


def test_six_images_on_a_circle():
    found = search_side(SIX, CLASSES)
    # 0 finds 4, 50; 4 finds 0, 50; 50 finds 53, 55 (both wrong), then 90, then 4
    # 53 finds 55, 50; 55 finds 53, 50; 90 finds 55, 53
    assert found.average_precision.tolist() == [1, 1, 0, 0.5, 0.5, 1]
    assert found.first_hit.tolist() == [1, 1, 4, 1, 1, 1]
    assert found.nearest[2].tolist() == [3, 4, 5, 1, 0, -1, -1, -1, -1, -1]
    assert found.class_scores() == [(2, pytest.approx(2 / 3), 3), (7, pytest.approx(2 / 3), 3)]
    assert found.confusions == (Confusion(2, 7, 2 / 6), Confusion(7, 2, 2 / 6))
    assert found.hardest().tolist() == [2, 3, 4, 0, 1, 5]
    assert found.queries_of(2).tolist() == [3, 4, 5]


def test_those_that_come_closest_to_another_class_are_shown_with_their_nearest_there():
    found = search_side(SIX, CLASSES)
    assert found.closest_to(7, 2, 2) == [(2, 3), (1, 3)]
    assert found.closest_to(2, 7, 9) == [(3, 2), (4, 2), (5, 2)]
    assert found.closest_to(2, 5, 9) == []


def test_an_image_that_is_alone_in_its_class_is_told_and_counts_nowhere():
    found = search_side(on_circle(0, 1, 1.5, 90, 91), np.array([0, 0, 4, 1, 1]))
    assert found.lone.tolist() == [2]
    assert found.queries.tolist() == [0, 1, 3, 4]
    assert found.class_scores() == [(0, 0.5, 2), (1, 1.0, 2)]
    assert found.confusions == (Confusion(0, 4, 0.5),)


@pytest.mark.parametrize("labels", [[0, 1, 2], [5]])
def test_where_every_class_has_one_image_nothing_is_asked(labels):
    found = search_side(np.ones((len(labels), 2)), np.array(labels))
    assert found.lone.tolist() == list(range(len(labels)))
    assert (len(found.queries), found.class_scores(), found.confusions) == (0, [], ())
    assert found.hardest().tolist() == []
    assert doubt_labels(np.ones((len(labels), 2)), np.array(labels)) == []


def test_only_rows_that_ask_and_are_searched_count():
    # the query at 0 searches a gallery in which it is not: 10 is of its class, 5 is not; the row at 1 takes no part
    found = search_side(on_circle(0, 1, 5, 10), np.array([3, 3, 8, 3]), np.array([0]), np.array([2, 3]))
    assert found.average_precision.tolist() == [0]
    assert found.first_hit.tolist() == [2]
    assert found.confusions == (Confusion(3, 8, 1.0),)
    assert found.closest_to(3, 8, 5) == [(0, 2)]


def test_it_agrees_with_what_an_evaluation_measures(monkeypatch):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), [2, 2, 3, 5, 8, 20, 20, 30, 40, 60, 1, 109])
    rows = generator.normal(size=(len(labels), 6)) + 0.8 * generator.normal(size=(12, 6))[labels]
    found = search_side(rows, labels)
    known = per_query(rows, labels)
    assert found.average_precision == pytest.approx(known.average_precision[found.queries], abs=1e-6)
    assert found.first_hit.tolist() == known.first_hit[found.queries].tolist()
    assert found.hardest()[:9].tolist() == np.searchsorted(found.queries, known.hardest(9)).tolist()
    scores = found.class_scores()
    mean = sum(score.map_at_r * score.queries for score in scores) / len(found.queries)
    assert mean == pytest.approx(evaluate_retrieval(rows, labels)["map_at_r"])
    monkeypatch.setattr("mlcore.analysis.failures.BLOCK", BLOCK // 2**12)
    parts = search_side(rows, labels)
    assert parts.average_precision == pytest.approx(found.average_precision)
    assert parts.first_hit.tolist() == found.first_hit.tolist()
    assert parts.confusions == found.confusions


def test_what_is_taken_and_what_is_right_fill_the_nearest_of_a_class():
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 15)
    rows = generator.normal(size=(60, 3)) + generator.normal(size=(4, 3))[labels]
    found = search_side(rows, labels)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -2)
    nearest = labels[np.argsort(-near, axis=1)[:, :14]]  # R is 14
    expected = {(a, b): (nearest[labels == a] == b).mean() for a in range(4) for b in range(4) if a != b}
    shares = {(label, other): share for label, other, share in found.confusions}
    assert shares == pytest.approx({pair: share for pair, share in expected.items() if share})
    assert [share for *_, share in found.confusions] == sorted(shares.values(), reverse=True)


def test_an_image_among_another_class_is_doubted():
    rows = on_circle(0, 1, 2, 3, 90, 91, 92, 93, 1.6)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    assert doubt_labels(rows, labels) == [DoubtedLabel(8, 1, 0, 4, 0, 4, (2, 1, 3, 0, 4, 5, 6, 7))]
    assert doubt_labels(rows, labels)[0].score == 4 / 5


def test_an_image_between_several_classes_is_not_doubted():
    rows = on_circle(43.5, 44, 46, 46.5, 45, 200, 201, 202, 203)
    assert doubt_labels(rows, np.array([0, 0, 1, 1, 2, 2, 2, 2, 2])) == []
    assert [found.row for found in doubt_labels(rows, np.array([0, 0, 0, 1, 2, 2, 2, 2, 2]))] == [4]  # 3 is alone


@pytest.mark.parametrize(("classes", "size"), [(10, 200), (100, 12)])
@pytest.mark.parametrize("seed", range(3))
def test_swapped_labels_come_first(classes, size, seed):
    """One label of a hundred is swapped: nine of ten of them are in the first two of a hundred of the list."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), size)
    rows = 3 * generator.normal(size=(classes, 16))[labels] + generator.normal(size=(len(labels), 16))
    swapped = generator.choice(len(labels), len(labels) // 100, replace=False)
    said = labels.copy()
    said[swapped] = (labels[swapped] + generator.integers(1, classes, len(swapped))) % classes
    first = doubt_labels(rows, said)[: len(labels) // 50]
    assert len(set(swapped) & {found.row for found in first}) >= 0.9 * len(swapped)
    assert all(found.other == labels[found.row] for found in first if found.row in swapped)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        search_side(np.array([[np.nan, 1.0], [1.0, 0.0]]), np.array([0, 0]))
    with pytest.raises(ValueError, match="must be finite"):
        doubt_labels(np.array([[np.inf, 1.0], [1.0, 0.0]]), np.array([0, 0]))
