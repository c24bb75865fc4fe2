"""The panel of failures: what its lists say, what its buttons do, the saved table, and what is said of empty lists."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from damage import copied, trained_run
from pages_words import words
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from app.lab.failure_lists import LISTS, find_failures, list_csv, percent, reason_for_nothing
from app.lab.large_pictures import draw_pictures
from app.lab.snapshots import WatchSample
from app.shared.view import HELD
from mlcore.runs.folder import RunFolder
from mlcore.spec.sections import DataChoice


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunFolder:
    return trained_run(tmp_path_factory.mktemp("failures") / "runs")


@pytest.fixture(autouse=True)
def nothing_kept():
    st.cache_resource.clear()
    st.cache_data.clear()


def on_circle(*degrees: float) -> dict[str, np.ndarray]:
    angles = np.radians(degrees)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return {"embeddings": rows.astype(np.float16), "neighbours": np.zeros((len(rows), 8), np.int32)}


def sample_of(labels: list[int], held_out: list[bool] | None = None) -> WatchSample:
    count = len(labels)
    return WatchSample(
        ids=10 * np.arange(count),
        labels=np.array(labels),
        held_out=np.ones(count, bool) if held_out is None else np.array(held_out),
        class_names=("=A", "*B*", "C"),
        image_names=tuple(f"+{number}.png" for number in range(count)),
        dataset="toy",
        total=count,
    )


# A: 0, 4, 50 degrees; B: 53, 55, 90
SIX = sample_of([0, 0, 0, 1, 1, 1])
NOW = on_circle(0, 4, 50, 53, 55, 90)
START = on_circle(0, 52, 50, 53, 55, 90)


def lines_of(name, now=NOW, start=START, sample=SIX, side="held_out"):
    found = find_failures("somewhere", sample, now, start, side)
    return found, LISTS[name].lines(found)


def shown_words(name, **given) -> list[str]:
    found, lines = lines_of(name, **given)
    return [LISTS[name].show(found, line).words for line in lines]


def test_worst_classes_with_their_change_and_what_they_are_taken_for():
    first, second = shown_words("classes")
    assert first == "**=A** MAP@R .667 (+.083), 3 images, most often taken for **\\*B\\*** (33 %)"
    assert second.startswith("**\\*B\\*** MAP@R .667")
    assert shown_words("classes", start=None)[0].startswith("**=A** MAP@R .667, 3 images")


def test_the_pictures_of_a_class_are_its_worst_images_and_its_button_selects_all():
    found, lines = lines_of("classes")
    row = LISTS["classes"].show(found, lines[0])
    assert [tile.id for tile in row.pictures.tiles] == [20]
    assert row.selects == (0, 10, 20)


def test_pairs_say_the_share_of_the_nearest_and_show_both_images():
    found, lines = lines_of("pairs")
    row = LISTS["pairs"].show(found, lines[0])
    assert row.words == "**=A** is taken for **\\*B\\***: 33 % of the nearest of =A are \\*B\\* (33 % at step 0)"
    first, *_ = row.pictures.strips
    assert first.title == "Image 20 and the nearest *B*"
    assert [(tile.id, tile.frame) for tile in first.tiles] == [(20, "query"), (30, "wrong")]
    assert row.selects == (0, 10, 20, 30, 40, 50)


def test_the_hardest_image_is_told_with_the_rank_of_its_first_right_one():
    found, lines = lines_of("hardest")
    row = LISTS["hardest"].show(found, lines[0])
    assert row.words == "Image 20 (\\+2\\.png) of **=A**: AP@R .000 (−.500), rank of the first right one 1 → 4"
    (strip,) = row.pictures.strips
    assert [(tile.id, tile.frame) for tile in strip.tiles[:2]] == [(30, "wrong"), (40, "wrong")]
    assert len(lines) == 3  # three of the six find all of theirs first


def test_a_doubted_label_says_what_its_neighbours_are():
    sample = sample_of([0, 0, 0, 0, 1, 1, 1, 1, 1], [True] * 5 + [False] * 4)
    now = on_circle(0, 1, 2, 3, 90, 91, 92, 93, 1.6)
    (told,) = shown_words("labels", now=now, start=None, sample=sample)
    assert (
        told
        == "Image 80 (\\+8\\.png), training, is called **\\*B\\***; 4 of its 4 nearest are **=A**. Is the label right?"
    )
    (again,) = shown_words("labels", now=now, start=now, sample=sample)
    assert "**=A**, at step 0 too. Is the label right?" in again


def test_the_saved_table_has_all_lines_and_no_formula():
    found, lines = lines_of("hardest")
    header, *rows = csv.reader(io.StringIO(list_csv(found.sample, "hardest", lines)))
    assert header == ["list", "rank", "class", "other class", "image id", "image name", "value", "before"]
    assert rows[0] == ["Hardest images", "1", "'=A", "*B*", "20", "'+2.png", "0.0000", "0.5000"]
    assert len(rows) == 3
    found, lines = lines_of("classes", start=None)
    *_, last = csv.reader(io.StringIO(list_csv(found.sample, "classes", lines)))
    assert last == ["Worst classes", "2", "*B*", "'=A", "", "", "0.6667", ""]


@pytest.mark.parametrize(
    ("labels", "degrees", "side", "reason"),
    [
        ([0, 1, 2], (0, 1, 2), "held_out", "only one watched image"),
        ([0, 1, 2], (0, 1, 2), "train", "No watched image is on this side"),
        ([0, 0, 0], (0, 1, 2), "held_out", "are of one class"),
        ([0, 0, 1, 1], (0, 1, 80, 81), "held_out", "MAP@R is 1 for every class"),
    ],
)
def test_why_a_list_is_empty(labels, degrees, side, reason):
    found, lines = lines_of("classes", now=on_circle(*degrees), start=None, sample=sample_of(labels), side=side)
    assert lines == []
    assert reason in reason_for_nothing(found, "classes")


def test_queries_search_their_gallery_and_nothing_else():
    sample = sample_of([0, 1, 0, 1])
    now = on_circle(0, 1, 30, 2)
    now["neighbours"][2:] = -1  # the gallery asks nothing
    found, lines = lines_of("hardest", now=now, start=None, sample=sample)
    assert [line.place for line in lines] == [0]
    assert found.now.gallery.tolist() == [2, 3]


def test_a_start_that_is_not_finite_is_left_out():
    broken = {**START, "embeddings": np.full_like(START["embeddings"], np.nan)}
    assert "(+" not in shown_words("classes", start=broken)[0]


def test_shares_in_words():
    assert [percent(share) for share in (0.0, 0.004, 0.344, 1.0)] == ["0 %", "under 1 %", "34 %", "100 %"]


def open_panel(run: RunFolder, **changes: object) -> AppTest:
    def script(run, changes):
        import streamlit as st

        from app.lab.failures import failures_panel
        from app.lab.snapshots import read_snapshot, read_watch_sample
        from app.server import read_history
        from app.shared.view import View

        past = read_history(run)
        sample = read_watch_sample(run)
        steps = list(past.snapshots)
        now, start = (read_snapshot(past, step, len(sample.ids)) for step in (steps[-1], steps[0]))
        now = {**now, **changes}
        st.session_state["pressed"] = failures_panel(run, run.spec, sample, now, start, steps[-1], "small", View.read())

    return AppTest.from_function(script, kwargs={"run": run, "changes": changes}, default_timeout=PATIENCE_S).run()


def press(page: AppTest, key: str) -> AppTest:
    page.button(key=key).click().run()
    assert not page.exception
    return page


def choose(page: AppTest, name: str) -> AppTest:
    page.button_group(key="lab.failures.list").set_value(name).run()
    assert not page.exception
    return page


def test_each_list_is_shown_and_the_choice_is_kept(trained):
    page = open_panel(trained)
    assert "MAP@R of each class" in words(page)
    assert "most often taken for" in words(page)
    for name, listed in LISTS.items():
        assert listed.caption in words(choose(page, name))
    page.run()
    assert LISTS["labels"].caption in words(page)


def test_a_row_is_selected_in_the_map(trained):
    page = press(open_panel(trained), "lab.failures.select.0")
    lasso = page.session_state[HELD].view.lasso
    arrays, _ = trained.watch()
    held = arrays["held_out"].astype(bool)
    places = np.flatnonzero(np.isin(arrays["ids"], lasso))
    assert len(lasso) == len(places) > 1
    assert len(set(arrays["labels"][places])) == 1
    assert held[places].all()
    assert list(lasso) == sorted(lasso)


def test_more_of_a_list_is_shown(trained):
    page = choose(open_panel(trained), "hardest")
    assert "6 of" in words(page)
    assert len(page.button) == 7
    press(page, "lab.failures.more")
    assert "12 of" in words(page)
    assert len([button for button in page.button if "select" in button.key]) == 12


def test_the_other_side_is_looked_at(trained):
    page = choose(open_panel(trained), "hardest")
    before = words(page)
    page.button_group(key="lab.side").set_value("train").run()
    assert page.session_state[HELD].view.side == "train"
    assert words(page) != before


def test_the_whole_list_is_saved_under_a_name_that_tells_of_it(trained, monkeypatch):
    saved = []
    monkeypatch.setattr(st, "download_button", lambda label, data, **more: saved.append((data, more["file_name"])))
    choose(open_panel(trained), "hardest")
    data, name = saved[-1]
    assert name == "a-good-run-step-4-hardest.csv"
    rows = list(csv.DictReader(io.StringIO(data)))
    assert len(rows) > 6
    values = [float(row["value"]) for row in rows]
    assert values == sorted(values)
    arrays, names = trained.watch()
    place = int(np.flatnonzero(arrays["ids"] == int(rows[0]["image id"]))[0])
    assert rows[0]["class"] == names["class_names"][arrays["labels"][place]]


def test_embeddings_that_are_not_finite_are_told(trained):
    arrays, _ = trained.watch()
    page = open_panel(trained, embeddings=np.full((len(arrays["ids"]), 8), np.nan))
    assert "not finite" in page.warning[0].value
    assert not page.exception


def test_the_pictures_are_as_large_as_they_are_stored(trained):
    atlas = draw_pictures(str(trained.path), trained.spec.dataset.model_dump_json(), (3, 5))
    assert (atlas.count, atlas.tile) == (2, 8)  # digits have 8 px


def test_without_the_data_set_the_small_pictures_are_shown_and_it_is_said(trained, monkeypatch):
    def gone(*_):
        raise ValueError("there is no set *x*")

    monkeypatch.setattr("app.lab.large_pictures.read_images", gone)
    page = open_panel(trained)
    assert "small pictures of the run's folder" in words(page)
    assert "\\*x\\*" in words(page)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "set-0123456789ab"}, "no imported set"),
        ({"key": "/some/folder"}, "not imported"),
        ({"fingerprint": "other"}, "changed"),
    ],
)
def test_another_data_set_gives_no_pictures(trained, tmp_path: Path, monkeypatch, changes, reason):
    run = copied(trained, tmp_path / "runs")
    if "fingerprint" in changes:
        monkeypatch.setattr("app.lab.large_pictures.read_history", lambda run: type("Past", (), {"started": None}))
    dataset = DataChoice(**{"key": "digits", **changes})
    with pytest.raises(ValueError, match=reason):
        draw_pictures(str(run.path), dataset.model_dump_json(), (0,))


def test_that_failures_are_looked_at_is_in_the_link(open_page):
    page = open_page("lab", below="failures")
    assert page.session_state["lab.view"].view.below == "failures"
    assert page.query_params["below"] in ("failures", ["failures"])
