"""What a page says of a split is what a run will do: the Lab, the Data page, and the way from one to the other."""

from __future__ import annotations

from image_files import image_bytes, picture, tree
from page_widgets import widget
from pages_words import words

from app.shared.data_split import split_choice, split_words
from mlcore.data import load
from mlcore.data.importing import import_path
from mlcore.engines.attempt_runner import run_folder
from mlcore.runs.states import RunState
from mlcore.spec.data_split import build_split
from mlcore.spec.run_spec import RunSpec


def told_of(spec: RunSpec) -> str:
    """The counts of the very split that a run of this spec trains on."""
    table = load(spec.dataset.key)
    return split_words(table, build_split(spec.dataset, table))


def said_on(page) -> str:
    return words(page).replace("\\", "")


def classes_of(tmp_path, monkeypatch, sizes):
    """The id of an imported set of classes with these numbers of images."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    files = {
        f"class {label}/{place}.png": image_bytes(picture(seed=100 * label + place))
        for label, size in enumerate(sizes)
        for place in range(size)
    }
    return import_path(tree(tmp_path / "photos", files)).name


def test_the_lab_has_the_share_and_the_seed_and_tells_what_a_run_does(open_page):
    page = open_page("lab", **{"s.dataset": "glyphs", "s.dataset.held_out": "0.2", "s.dataset.split_seed": "3"})
    spec = RunSpec.read({}).changed({"dataset.held_out": 0.2, "dataset.split_seed": 3})
    assert told_of(spec) in said_on(page)
    assert "50 classes" in told_of(spec)
    widget(page.number_input, "lab.set.dataset.held_out").set_value(0.8).run()
    assert told_of(spec.changed({"dataset.held_out": 0.8})) in said_on(page)


def test_the_split_of_the_data_page_is_the_one_that_the_lab_starts_with(open_page, runs):
    page = open_page("data", set="glyphs")
    widget(page.slider, "data.dataset.held_out.glyphs").set_value(0.2)
    widget(page.number_input, "data.dataset.split_seed.glyphs").set_value(5)
    page.run()
    spec = RunSpec.read({}).changed({"dataset.held_out": 0.2, "dataset.split_seed": 5})
    assert told_of(spec) in said_on(page)
    page.button(key="data.train").click().run()
    assert not page.exception
    assert told_of(spec) in said_on(page)
    page.button(key="lab.start").click().run()
    (run,) = runs.all()
    chosen = run.spec.dataset
    assert (chosen.split, chosen.held_out, chosen.split_seed) == ("class", 0.2, 5)


def test_what_cannot_be_measured_is_said_on_both_pages_before_a_run(open_page, tmp_path, monkeypatch):
    key = classes_of(tmp_path, monkeypatch, [20, 1, 1, 1])
    for page in (open_page("data", set=key), open_page("lab", **{"s.dataset": key})):
        said = said_on(page)
        assert "Training: 21 images of 2 classes. Held out: 2 images of 2 classes." in said
        assert "No held-out image has another of its class, so nothing can be measured" in said


def test_start_is_refused_where_nothing_can_be_learned(open_page, tmp_path, monkeypatch):
    key = classes_of(tmp_path, monkeypatch, [1] * 12)
    page = open_page("lab", **{"s.dataset": key, "s.loss": "triplet_margin"})
    assert "Triplet margin learns from pairs of a class. Choose a loss with proxies" in said_on(page)
    assert page.button(key="lab.start").disabled
    page = open_page("lab", **{"s.dataset": key, "s.loss": "arcface"})
    assert not page.button(key="lab.start").disabled
    assert "No training class has two images" in said_on(page)


def test_settings_that_teach_nothing_are_said_beside_start(open_page):
    rates = {f"s.optimizer.{name}_lr": "0" for name in ("backbone", "head", "proxies")}
    assert "Every learning rate of what could train is 0" in said_on(open_page("lab", **rates))


def test_an_older_rule_is_named():
    table = load("glyphs")
    choice = split_choice("glyphs", {"dataset.split": "class", "dataset.class_rule": "count_classes"})
    assert choice.class_rule == "count_classes"
    assert split_words(table, build_split(choice, table)).startswith("Training: 1,116 images of 31 classes.")


def test_a_run_without_figures_opens_and_says_why(open_page, runs, tmp_path, monkeypatch):
    key = classes_of(tmp_path, monkeypatch, [12, 1, 1, 1])
    settings = {"dataset": key, "backbone": "mlp", "budget.steps": 4, "threads": 1, "watch.evaluate_every": 2}
    run = runs.create(RunSpec.read({}).changed(settings), state=RunState.DRAFT)
    assert run_folder(run) == 0
    assert run.status().metrics["held_out"]["map_at_r"] is None
    assert run.status().metrics["held_out"]["nmi"] is None
    said = said_on(open_page("lab", run=run.run_id))
    assert "No held-out image has another of its class, so nothing can be measured on them" in said
    assert "There is no verdict" in said
    open_page("runs")
