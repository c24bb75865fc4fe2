"""Every button of every page is pressed by a test that looks at what came of it; one that none presses fails here."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from damage import copied, trained_run
from image_files import classes
from pages_words import words
from patience import PATIENCE_S
from streamlit.testing.v1 import AppTest

from app.data.jobs import Jobs
from app.shared.view import HELD
from mlcore.data.importing import import_path
from mlcore.data.store import all_sets
from mlcore.runs.states import RunState

ROOT = Path(__file__).resolve().parents[2]
UNEXPECTED = "met a fault that it does not know"
BUTTONS = ("act_button", "button", "download_button", "form_submit_button", "menu_button", "link_button", "chat_input")


def key_of(call: ast.Call) -> str:
    """The key of a button's call, with a star where something is filled in."""
    found = next((item.value for item in call.keywords if item.arg == "key"), None)
    if isinstance(found, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "*" for part in found.values)
    return found.value if isinstance(found, ast.Constant) else f"(no key, line {call.lineno})"


def name_of(function: ast.expr) -> str:
    return getattr(function, "attr", "") or getattr(function, "id", "")


def buttons_of_pages() -> dict[str, str]:
    """Each button's key, and where it stands."""
    found = {}
    for path in sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("pages/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and name_of(node.func) in BUTTONS and path.name != "stored_widgets.py":
                found[key_of(node)] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def pressed_by_tests() -> set[str]:
    """The keys that tests press: `press(page, KEY)`, or `.button(key=KEY).click()`."""
    found = set()
    for path in ROOT.glob("tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "id", "") == "press":
                found.add(node.args[1])
            clicked = isinstance(node.func, ast.Attribute) and node.func.attr == "click"
            if clicked and isinstance(node.func.value, ast.Call):
                found |= {item.value for item in node.func.value.keywords if item.arg == "key"}
    return {name.value for name in found if isinstance(name, ast.Constant) and isinstance(name.value, str)}


def is_key(key: str, name: str) -> bool:
    """Whether a test that says `name` means the button `key`; what is filled in at its end may be left out."""
    pattern = ".+".join(map(re.escape, key.split("*")))
    return bool(re.fullmatch(pattern, name)) or key == f"{name}.*"


def test_every_button_is_pressed_by_a_test():
    pressed = pressed_by_tests()
    unpressed = {
        key: where for key, where in buttons_of_pages().items() if not any(is_key(key, name) for name in pressed)
    }
    assert unpressed == {}


def press(page: AppTest, key: str) -> AppTest:
    """Press the button with this key; what follows must not fail."""
    button(page, key).click().run()
    assert not page.exception
    assert UNEXPECTED not in words(page)
    return page


def button(page: AppTest, key: str) -> Any:
    """The button with this key, or whose key goes on with the run that it is for."""
    found = [button for button in page.button if button.key == key or button.key.startswith(f"{key}.")]
    assert len(found) == 1, f"{key}: {len(found)} buttons"
    return found[0]


def has_button(page: AppTest, key: str) -> bool:
    return key in {button.key for button in page.button}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return trained_run(tmp_path_factory.mktemp("good") / "runs")


def looks_at(page: AppTest) -> str | None:
    return page.session_state[HELD].view.run


@pytest.fixture
def going(runs, quick_spec):
    """A run that goes on, as far as its folder tells."""
    run = runs.create(quick_spec)
    run.move(RunState.STARTING)
    run.move(RunState.RUNNING)
    return run


def test_pause_and_go_on(open_page, going):
    page = press(open_page("lab", run=going.run_id), "lab.pause")
    assert going.asked("pause")
    press(page, "lab.unpause")
    assert not going.asked("pause")


def test_stop_and_resume(open_page, going):
    page = press(open_page("lab", run=going.run_id), "lab.stop")
    assert going.asked("cancel")
    assert button(page, "lab.stop").disabled
    going.move(RunState.CANCELLED)
    page.run()
    press(page, "lab.resume")
    assert (going.state, going.status().attempt) == (RunState.QUEUED, 2)


def test_close_shows_what_is_chosen(open_page, going):
    page = press(open_page("lab", run=going.run_id), "lab.close")
    assert looks_at(page) is None
    assert "Before training" in words(page)


def test_a_runs_settings_are_taken_to_the_left(open_page, good, runs):
    run = copied(good, runs.root)
    page = press(open_page("lab", run=run.run_id), "lab.duplicate")
    draft = page.session_state["lab.draft"]
    assert (draft["dataset"], draft["budget.steps"], draft["name"]) == ("digits", 4, "")


def test_the_left_side_says_that_it_is_the_next_runs_and_takes_the_shown_runs_settings(open_page, good, runs):
    run = copied(good, runs.root)
    page = open_page("lab", run=run.run_id)
    assert "**Next run**, other than the one shown" in words(page)
    assert "instead of" in words(page)
    assert ":gray-badge[4 steps]" in words(page)
    press(page, "lab.take")
    assert page.session_state["lab.draft"]["budget.steps"] == 4
    page.run()
    assert "**Next run**: as the one shown." in words(page)


def test_a_run_is_deleted_once_that_is_wanted(open_page, good, runs):
    run = copied(good, runs.root)
    page = open_page("lab", run=run.run_id)
    assert button(page, "lab.delete").disabled
    page.checkbox(key=f"lab.sure.{run.run_id}").check().run()
    press(page, "lab.delete")
    assert not run.path.exists()
    assert looks_at(page) is None


def test_a_picked_image_is_pinned_and_let_go(open_page, good, runs):
    run = copied(good, runs.root)
    picked = int(run.watch()[0]["ids"][0])
    page = press(open_page("lab", run=run.run_id, picked=str(picked)), "lab.pin")
    assert page.session_state[HELD].view.pins == (picked,)
    assert page.session_state[HELD].view.queries == "pinned"
    press(page, "lab.unpin")
    assert page.session_state[HELD].view.pins == ()


def test_knobs_go_back_to_their_defaults(open_page):
    page = open_page("lab", **{"s.loss": "arcface", "s.loss.margin": "0.3"})
    press(page, "lab.reset.loss")
    assert page.session_state["lab.draft"]["loss.margin"] == 0.5
    assert not has_button(page, "lab.reset.loss")


def test_a_loss_is_taken_to_the_lab(open_page):
    page = open_page("losses", loss="cosface")
    press(page, "losses.try")
    assert page.session_state["lab.draft"]["loss"] == "cosface"
    assert page.button(key="lab.start")


def select(page: AppTest, *rows: int) -> AppTest:
    """Select rows of the table of runs."""
    key = next(item.key for item in page.dataframe if str(item.key).startswith("runs.table."))
    page.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return page.run()


def test_a_run_of_the_list_is_opened(open_page, good, runs):
    run = copied(good, runs.root)
    page = press(select(open_page("runs"), 0), "runs.open")
    assert looks_at(page) == run.run_id


def test_a_press_on_a_row_opens_its_run(open_page, good, runs):
    run = copied(good, runs.root)
    page = open_page("runs")
    key = next(item.key for item in page.dataframe if str(item.key).startswith("runs.table."))
    page.session_state[key] = {"selection": {"rows": [], "columns": [], "cells": [(0, "name")]}}
    page.run()
    assert not page.exception
    assert looks_at(page) == run.run_id


def state_labels(page: AppTest) -> list[str]:
    """What stands on the buttons that filter by state."""
    pills = page.get("button_group") or page.get("pills")
    return [label for group in pills for label in group.options]


def test_the_states_count_what_the_filter_leaves(open_page, good, runs):
    copied(good, runs.root)
    page = open_page("runs")
    assert "done 1" in state_labels(page)
    page.text_input(key="runs.filter").set_value("nothing is called so").run()
    assert "done 0" in state_labels(page)


def test_runs_of_the_list_are_stopped_and_resumed(open_page, going):
    page = press(select(open_page("runs"), 0), "runs.stop")
    assert going.asked("cancel")
    going.move(RunState.CANCELLED)
    select(page, 0)
    press(page, "runs.resume")
    assert going.state == RunState.QUEUED


def test_runs_of_the_list_are_deleted_and_come_back(open_page, good, runs):
    first, second = copied(good, runs.root), copied(good, runs.root)
    page = press(select(open_page("runs"), 0, 2), "runs.delete")  # between them: no training
    assert "Everything in 2 runs" in words(page)
    page.button(key="runs.delete").click()  # a test runs the whole page, which would close the dialog
    press(page, "runs.delete.sure")
    assert not first.path.exists()
    assert not second.path.exists()
    press(page, "runs.undo")
    assert {run.run_id for run in runs.all()} == {first.run_id, second.run_id}


def select_in_trash(page: AppTest, *rows: int) -> AppTest:
    key = next(item.key for item in page.dataframe if str(item.key).startswith("runs.trash.table."))
    page.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return page.run()


def test_what_one_browser_deleted_another_restores_from_the_trash_later(open_page, good, runs):
    first, second, damaged = (copied(good, runs.root) for _ in range(3))
    (damaged.path / "spec.json").write_bytes(b"{")
    for run in (first, second, damaged):
        runs.delete(run.run_id)
    page, other = open_page("runs"), open_page("runs")
    assert "Trash: 3 runs" in [item.label for item in page.expander]
    assert button(page, "runs.restore").disabled
    table = next(item.value for item in page.dataframe if "goes" in item.value)
    assert set(table["goes"]) == {"in 24 h"}
    assert "damaged run" in set(table["name"])
    press(select_in_trash(page, 0, 1, 2), "runs.restore")
    assert {run.run_id for run in runs.all()} == {first.run_id, second.run_id, damaged.run_id}
    assert not has_button(page, "runs.restore")
    other.session_state["runs.trashed"] = [first.run_id]
    other.run()
    press(other, "runs.undo")
    assert "no longer in the trash" in other.toast[0].value.replace("\\", "")


def test_a_download_says_how_much_it_is(open_page, good, runs):
    copied(good, runs.root)
    page = press(select(open_page("runs"), 0), "runs.download")
    assert "Everything in 1 run" in words(page)
    assert page.get("download_button")[0].proto.label.startswith("Save the zip")


def test_too_much_for_a_download_is_said(open_page, good, runs, monkeypatch):
    copied(good, runs.root)
    monkeypatch.setattr("mlcore.runs.folder.RunFolder.size_bytes", lambda self: 2**40)
    page = press(select(open_page("runs"), 0), "runs.download")
    assert "copy their folders" in words(page)
    assert not page.get("download_button")


def test_the_list_of_networks_opens_and_one_is_measured(open_page, monkeypatch):
    page = press(open_page("lab", **{"s.backbone": "timm"}), "lab.timm")
    assert page.text_input(key="lab.timm.search")
    asked = []
    monkeypatch.setattr("app.lab.timm_picker.measure_speed", lambda arguments: asked.append(arguments) or "no room")
    press(page, "lab.timm.measure")
    assert asked
    assert "no room" in words(page)


@pytest.fixture
def own(open_page, tmp_path, monkeypatch):
    """The Data page of a set of one's own."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    key = import_path(classes(tmp_path / "shop"), title="Shop").name
    return open_page("data", set=key), key


def test_another_set_is_chosen(own):
    page, _ = own
    press(page, "data.card.digits")
    assert page.session_state["data.set"] == "digits"


def test_a_set_is_taken_to_the_lab(own):
    page, key = own
    press(page, "data.train")
    assert page.session_state["lab.draft"]["dataset"] == key
    assert page.button(key="lab.start").label.startswith("Start:")


def test_a_set_is_taken_to_the_lab_with_five_losses(own):
    page, key = own
    press(page, "data.compare")
    assert page.session_state["lab.draft"]["dataset"] == key
    assert page.button(key="lab.start").label.startswith("Start 5 runs")


def test_how_a_set_is_shown_is_in_the_link(open_page, own):
    page, key = own
    assert "Find a class" in [box.label for box in page.text_input]
    page.button_group(key="data.view").set_value("prepare").run()
    assert page.query_params["view"] in ("prepare", ["prepare"])  # Streamlit's versions differ
    other = open_page("data", set=key, view="prepare")
    assert "Keep the result" in words(other)
    press(other, "data.card.digits")
    assert "view" not in other.query_params
    assert "Find a class" in [box.label for box in open_page("data", set=key, view="odd").text_input]


def test_a_set_is_renamed_and_deleted(own):
    page, key = own
    assert page.button(key="data.renamed").disabled
    next(box for box in page.text_input if box.key.startswith(f"data.rename.{key}")).set_value("Market").run()
    press(page, "data.renamed")
    assert [facts.title for facts in all_sets()] == ["Market"]
    press(page, "data.delete")
    assert all_sets() == []


@pytest.fixture
def preparing(own):
    page, key = own
    page.session_state["data.view"] = "prepare"
    page.session_state[f"data.step.{key}"] = "counts"
    page.run()
    page.number_input(key="data.counts.most").set_value(2).run()
    return page, key


def test_steps_are_done_undone_and_done_again(preparing):
    page, _ = preparing
    press(page, "data.apply")
    assert not page.button(key="data.undo").disabled
    press(page, "data.undo")
    assert page.button(key="data.undo").disabled
    press(page, "data.redo")
    assert not page.button(key="data.undo").disabled
    press(page, "data.clear")
    assert page.button(key="data.undo").disabled
    assert not page.button(key="data.redo").disabled


@pytest.fixture
def begun(monkeypatch):
    """The arguments of the jobs that the page has begun, which do nothing and end at once."""
    told = []
    monkeypatch.setattr(
        "app.data.jobs.COMMAND", ("-c", "import sys; sys.stdin.read(); print('mlcore: no'); sys.exit(1)")
    )
    begin = Jobs.begin

    def noted(self, title, arguments, upload=None):
        told.append((title, arguments))
        return begin(self, title, arguments, upload)

    monkeypatch.setattr(Jobs, "begin", noted)
    return told


def test_the_prepared_set_is_kept_as_another(preparing, begun):
    page, key = preparing
    press(page, "data.apply")
    press(page, "data.keep")
    ((_, arguments),) = begun
    assert arguments[0] == "prepare"
    assert key in arguments


def test_images_kept_by_hand_are_let_go(open_page, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    folder = classes(tmp_path / "shop")
    (folder / "c0" / "again.png").write_bytes((folder / "c0" / "0.png").read_bytes()[:-1] + b"\0")
    key = import_path(folder).name
    page = open_page("data", set=key)
    page.session_state["data.view"] = "prepare"
    page.session_state[f"data.step.{key}"] = "duplicates"
    page.session_state[f"data.spare.{key}"] = {"c0/again.png"}
    page.run()
    press(page, "data.near.forget")
    assert page.session_state[f"data.spare.{key}"] == set()


def test_of_two_images_that_are_alike_and_called_differently_none_goes_until_a_person_says_which(
    open_page, tmp_path, monkeypatch
):
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    folder = classes(tmp_path / "shop")
    (folder / "c1" / "again.png").write_bytes((folder / "c0" / "0.png").read_bytes()[:-1] + b"\0")
    key = import_path(folder).name
    page = open_page("data", set=key)
    page.session_state["data.view"] = "prepare"
    page.session_state[f"data.step.{key}"] = "duplicates"
    page.run()
    page.slider(key="data.near.distance").set_value(0).run()
    assert "1 pair has different class names" in words(page)
    assert "0 images would go" in words(page)
    page.session_state[f"data.drop.{key}"] = {"c1/again.png"}
    page.run()
    assert "different class names" not in words(page)
    assert "1 image would go" in words(page)
    press(page, "data.near.forget")
    assert page.session_state[f"data.drop.{key}"] == set()


def settle(page: AppTest) -> AppTest:
    """Wait for the page's jobs, then draw it again."""
    from app.data.jobs import shared_jobs

    for job in shared_jobs().all:
        job.process.wait(PATIENCE_S)
    return page.run()


def test_an_import_fails_is_tried_again_and_is_dismissed(open_page, begun, tmp_path):
    page = open_page("data")
    page.session_state["data.from"] = "path"
    page.run()
    page.text_input(key="data.path").set_value(str(tmp_path)).run()
    press(page, "data.import")
    assert begun[0][1][-1] == str(tmp_path)
    settle(page)
    assert has_button(page, "data.again.1")
    press(page, "data.again.1")
    settle(page)
    press(page, "data.dismiss.1")
    assert not has_button(page, "data.again.1")


ASKING = """
import json, sys
if "--yes" in sys.argv:
    sys.exit("mlcore: read at last")
print(json.dumps({"question": "1,204,332 images. Is that what you mean?"}), file=sys.stderr)
sys.exit(3)
"""


def test_very_many_images_are_asked_about_and_agreed_to(open_page, monkeypatch, tmp_path):
    monkeypatch.setattr("app.data.jobs.COMMAND", ("-c", ASKING))
    page = open_page("data")
    page.session_state["data.from"] = "path"
    page.run()
    page.text_input(key="data.path").set_value(str(tmp_path)).run()
    press(page, "data.import")
    assert "1,204,332 images" in words(settle(page)).replace("\\", "")
    press(page, "data.agree.1")
    assert "read at last" in words(settle(page))
    assert not has_button(page, "data.agree.1")


def test_an_import_is_stopped(open_page, monkeypatch, tmp_path):
    monkeypatch.setattr("app.data.jobs.COMMAND", ("-c", "import time; print('ready', flush=True); time.sleep(600)"))
    page = open_page("data")
    page.session_state["data.from"] = "path"
    page.run()
    page.text_input(key="data.path").set_value(str(tmp_path)).run()
    press(page, "data.import")
    press(page, "data.stop.1")
    settle(page)
    assert "was stopped" in words(page)


def test_an_import_that_was_not_ended_goes_on(open_page, begun, tmp_path, monkeypatch):
    from mlcore.data import importing

    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    folder = classes(tmp_path / "shop")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "add_outcome", stopped)
        with pytest.raises(KeyboardInterrupt):
            import_path(folder, title="Shop")
    page = open_page("data")
    key = next(button.key for button in page.button if button.key.startswith("data.unfinished.."))
    page.button(key=key).click().run()
    assert not page.exception
    assert str(folder) in begun[0][1]


def test_start_below_the_page_starts_the_same_run_once(open_page, runs):
    page = open_page("lab", **{"s.dataset": "digits", "s.budget.steps": "20"})
    press(page, "lab.start.narrow")
    (run,) = runs.all()
    assert looks_at(page) == run.run_id
    assert run.spec.budget.steps == 20
